//! Objects for Arm cores hold everything they call, and nothing that a loader for them does not know.

#![cfg(feature = "llvm")]

use nc_ir::kernel::abi::Layout;
use nc_ir::kernel::testing::Case;
use nc_ir::kernel::{Emit, Index, KernelBuilder, Program, Role, ScalarOp};
use nc_ir::{DType, Tensor};
use nc_mlir::arm::{Addresses, CONTEXT_BYTES, Options, asm, context, object};
use object::{Object, ObjectSection, ObjectSymbol};

fn options(prefix: &str) -> Options {
    Options { prefix: prefix.to_owned(), ..Options::default() }
}

/// What is wrong with an object.
fn faults(bytes: &[u8], prefix: &str) -> Vec<String> {
    let file = object::File::parse(bytes).expect("an object");
    assert_eq!(file.architecture(), object::Architecture::Arm);
    let mut wrong = Vec::new();
    let run = format!("{prefix}_run");
    let mut found = false;
    for s in file.symbols() {
        let name = s.name().unwrap_or_default();
        if s.is_undefined() && !name.is_empty() {
            wrong.push(format!("`{name}` is undefined"));
        }
        if s.is_global() && s.is_definition() {
            found |= name == run;
            if name != run {
                wrong.push(format!("`{name}` is visible"));
            }
        }
    }
    if !found {
        wrong.push(format!("no `{run}`"));
    }
    for section in file.sections() {
        let name = section.name().unwrap_or_default();
        // Types of ELF for the Arm architecture: ABS32, PREL31, THM_CALL, THM_JUMP24, THM_MOVW_ABS_NC, THM_MOVT_ABS.
        for (_, r) in section.relocations() {
            if !matches!(r.flags(), object::RelocationFlags::Elf { r_type: 2 | 10 | 30 | 42 | 47 | 48 }) {
                wrong.push(format!("{name} has {:?}", r.flags()));
            }
        }
        let known = [
            ".text",
            ".rodata",
            ".ARM.attributes",
            ".ARM.exidx",
            ".rel",
            ".symtab",
            ".strtab",
            ".shstrtab",
            ".comment",
            ".note",
        ];
        if section.size() > 0 && !known.iter().any(|k| name.starts_with(k)) {
            wrong.push(format!("a section {name}"));
        }
    }
    wrong
}

#[test]
fn nothing_is_undefined() {
    for seed in 0..60 {
        let case = Case::from_seed(seed);
        let layout = Layout::of(&case.program).expect("small");
        let bytes = object(&case.program, &layout, &options("net")).expect("supported");
        assert_eq!(faults(&bytes, "net"), Vec::<String>::new(), "seed {seed}");
    }
}

#[test]
fn multiply_add_is_fused_where_the_program_says_so() {
    let mut p = Program::new("fma", 1);
    let buffer = |p: &mut Program, name: &str| {
        p.add_buffer(name, DType::F32, 8, Role::State(Tensor::zeros(DType::F32, vec![1])))
    };
    let (a, b) = (buffer(&mut p, "a"), buffer(&mut p, "b"));
    for (name, fused) in [("fused", true), ("apart", false)] {
        let mut k = KernelBuilder::new(name, None, 1);
        k.for_count(8, true, |k, i| {
            let (x, y) = (k.load(a, DType::F32, Index::var(i)), k.load(b, DType::F32, Index::var(i)));
            let r = if fused {
                k.op(ScalarOp::Fma, &[x, y, x])
            } else {
                let m = k.op(ScalarOp::FMul, &[x, y]);
                k.op(ScalarOp::FAdd, &[m, x])
            };
            k.store(a, Index::var(i), r);
        });
        p.push(k.finish());
    }
    let layout = Layout::of(&p).expect("small");
    let text = asm(&p, &layout, &options("m")).expect("supported");
    let body = |name: &str| {
        let start = text.find(&format!("\n{name}:")).expect("its label");
        let rest = &text[start..];
        rest[..rest.find(".fnend").or(rest.find(".size")).unwrap_or(rest.len())].to_owned()
    };
    let (fused, apart) = (body("m_k0_fused"), body("m_k1_apart"));
    assert!(fused.contains("vfma.f32") && !fused.contains("vmul"), "{fused}");
    // `vmla` rounds twice, as the program asks.
    assert!(!apart.contains("vfma"), "{apart}");
    assert!(apart.contains("vmla.f32") || apart.contains("vmul.f32"), "{apart}");
}

#[test]
fn a_prefix_that_is_no_identifier_is_refused() {
    let p = Program::new("m", 1);
    let layout = Layout::of(&p).expect("small");
    for bad in ["", "1net", "net-1"] {
        let e = object(&p, &layout, &options(bad)).expect_err("no identifier");
        assert!(e.what.contains(&format!("`{bad}`")), "{e}");
    }
}

/// The layout that `clang -target thumbv7em-none-eabihf` gives the struct: pointers at 0, 4, 8, the numbers at 16 and 24,
/// pointers at 32, 36, 40, 48 bytes in all.
#[test]
fn contexts_are_laid_out_as_in_c() {
    let at = Addresses { arena: 1, consts: 2, host: 3, barrier: 4, barrier_arg: 5 };
    let bytes = context(at, 6, 7);
    let words: Vec<u32> = bytes.chunks(4).map(|w| u32::from_le_bytes(w.try_into().expect("4 bytes"))).collect();
    assert_eq!(words, [1, 2, 3, 0, 6, 0, 7, 0, 4, 5, 0, 0]);
    assert_eq!(bytes.len(), CONTEXT_BYTES);
}
