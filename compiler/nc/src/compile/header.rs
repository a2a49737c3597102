//! The C header of an object.

use super::identifier;
use nc_compiler::Compiled;
use nc_ir::DType;
use nc_ir::graph::Module;
use nc_ir::kernel::abi::Place;
use std::fmt::Write;

/// The header for the object of a compiled model whose symbols begin with `name`.
pub fn header(name: &str, stem: &str, compiled: &Compiled, module: &Module) -> String {
    let h = nc_cranelift::header(&compiled.program, &compiled.layout);
    let upper = name.to_uppercase();
    let mut out = String::new();
    let _ = write!(
        out,
        "/* The model `{}`, compiled by nc {}. Link with {stem}.o. */\n\
         #ifndef NC_{upper}_H\n#define NC_{upper}_H\n\n#include <stdint.h>\n#include <string.h>\n\n\
         #ifdef __cplusplus\nextern \"C\" {{\n#endif\n\n",
        module.name.replace("*/", "* /"),
        env!("CARGO_PKG_VERSION"),
    );
    out.push_str(
        "#ifndef NC_CONTEXT\n#define NC_CONTEXT\n\
         /* What a run is given. Arena and constants are aligned to 64 bytes. */\n\
         typedef struct nc_context {\n  \
         uint8_t *arena;            /* the state, NAME_ARENA_BYTES */\n  \
         const uint8_t *consts;     /* NAME_consts */\n  \
         uint8_t *const *host;      /* NAME_ARRAYS pointers: frames of inputs, outputs and probes */\n  \
         uint64_t first_tick;       /* number of the first tick; the next call goes on after the last */\n  \
         uint64_t ticks;            /* how many */\n  \
         void (*barrier)(void *);   /* unused with one part */\n  \
         void *barrier_arg;\n  \
         const void *data;          /* unused */\n\
         } nc_context;\n#endif\n\n",
    );
    if let Some(dt) = module.dt {
        let _ = writeln!(out, "#define {upper}_DT {:e} /* seconds per tick */", dt.0);
    }
    let _ = writeln!(out, "#define {upper}_ARENA_BYTES UINT64_C({})", h.arena_bytes);
    let _ = writeln!(out, "#define {upper}_PARTS {}", h.parts);
    let _ = writeln!(out, "#define {upper}_ARRAYS {}\n", h.arrays.len());
    out.push_str(
        "/* Arrays: their place in `host`, elements and bytes of a frame. Frames of one run follow each other; those of\n   \
         outputs and probes hold zeros before it. Up to 64 bytes behind the last frame may be read. */\n",
    );
    for (k, a) in h.arrays.iter().enumerate() {
        let id = format!("{upper}_{}", identifier(&a.name).to_uppercase());
        let kind = match (a.input, a.every) {
            (true, _) => "input".to_owned(),
            (false, 1) => "output".to_owned(),
            (false, n) => format!("probe every {n} ticks"),
        };
        // An input and an output may share a name.
        let id = if h.arrays[..k].iter().any(|b| identifier(&b.name) == identifier(&a.name)) {
            format!("{id}_{k}")
        } else {
            id
        };
        let _ = writeln!(out, "#define {id} {k} /* {kind}, {} */", c_type(a.elem));
        let _ = writeln!(out, "#define {id}_LEN {}", a.len);
        let _ = writeln!(out, "#define {id}_BYTES {}", a.len.saturating_mul(a.elem.size() as u64));
    }
    out.push_str("\n/* States: their place in the arena, in bytes. */\n");
    for (k, s) in compiled.states.iter().enumerate() {
        if let Some(Place::Arena(at)) = compiled.layout.buffers.get(s.buffer.index()) {
            let known = compiled.states[..k].iter().any(|t| identifier(&t.name) == identifier(&s.name));
            let suffix = if known { format!("_{k}") } else { String::new() };
            let id = format!("{upper}_STATE_{}{suffix}", identifier(&s.name).to_uppercase());
            let len = s.ty.elements().unwrap_or(0);
            let _ = writeln!(out, "#define {id} UINT64_C({at}) /* {}[{len}] */", c_type(s.ty.dtype));
        }
    }
    let _ = write!(
        out,
        "\n/* Runs context->ticks ticks; `part` is 0. */\n\
         void {name}_run(const nc_context *context, uint64_t part);\n\n\
         extern const uint8_t {name}_consts[];\n\
         extern const uint8_t {name}_init[];\n\
         extern const uint64_t {name}_init_bytes;\n\n\
         /* Makes an arena what it is before the first tick. */\n\
         static inline void {name}_reset(uint8_t *arena) {{\n  \
         memset(arena, 0, {upper}_ARENA_BYTES);\n  \
         memcpy(arena, {name}_init, {name}_init_bytes);\n}}\n\n\
         #ifdef __cplusplus\n}}\n#endif\n#endif\n"
    );
    out
}

/// The C type of an element.
fn c_type(dtype: DType) -> &'static str {
    match dtype {
        DType::F64 => "double",
        DType::F32 => "float",
        DType::F16 => "uint16_t (binary16)",
        DType::BF16 => "uint16_t (bfloat16)",
        DType::I64 => "int64_t",
        DType::I32 => "int32_t",
        DType::I16 => "int16_t",
        DType::I8 => "int8_t",
        DType::U64 => "uint64_t",
        DType::U32 => "uint32_t",
        DType::U16 => "uint16_t",
        DType::U8 => "uint8_t",
        DType::Bool => "uint8_t (0 or 1)",
    }
}
