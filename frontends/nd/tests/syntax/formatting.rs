use crate::parse_ok;
use expect_test::{Expect, expect};
use nc_nd::format;

fn check(src: &str, expected: Expect) {
    let once = format(src).expect("no syntax errors");
    assert_eq!(parse_ok(src).file, parse_ok(&once).file, "{once}");
    assert_eq!(format(&once).as_deref(), Ok(once.as_str()));
    expected.assert_eq(&once);
}

#[test]
fn blanks() {
    check(
        "const  x=-a^-2*(b+c )/f( x , k=[1,2 ][0])-not_ ( 5 .y)\nconst y : nS / cm ^ 2 * ms ^ - 1[ 3*n ]@ i8( axis=0 )=if not(a)and-b<3ms then 1 else x [ a : - b,c ]",
        expect![[r#"
            const x = -a^-2 * (b + c) / f(x, k = [1, 2][0]) - not_(5 .y)
            const y: nS/cm^2*ms^-1[3 * n] @i8(axis = 0) = if not (a) and -b < 3 ms then 1 else x[a:-b, c]
        "#]],
    );
    check(
        "net N(n:int=4*k,m : mV/ms){\nP.exc<-x\nconnect s : a[0 : n]->b . exc{rule=all( );weight = -1mV/1ms}\nfn_ . x<-- 1\n}",
        expect![[r#"
            net N(n: int = 4 * k, m: mV/ms) {
              P.exc <- x
              connect s: a[0:n] -> b.exc { rule = all(); weight = -1 mV / 1 ms }
              fn_.x <- -1
            }
        "#]],
    );
    check(
        "fn f( a:real,b : ms )->mV / ms=a*b\nneuron N{v'=- v/tau\nrefractory 1 ms hold v,w}",
        expect![[r#"
        fn f(a: real, b: ms) -> mV/ms = a * b
        neuron N {
          v' = -v / tau
          refractory 1 ms hold v, w
        }
    "#]],
    );
}

#[test]
fn lines_and_blocks() {
    check(
        "\n\n\nconst a = 1\n\n\n\nconst b = 2\n\n\n",
        expect![[r#"
        const a = 1

        const b = 2
    "#]],
    );
    check(
        "neuron A {\n\n}\nneuron B { }\nneuron C {\n\n  reset { v = 1\n  w = 2 }\n\n\n}",
        expect![[r#"
        neuron A {}
        neuron B {}
        neuron C {
          reset {
            v = 1
            w = 2
          }
        }
    "#]],
    );
    check(
        "neuron A { reset { v = 1; w = 2; } }; const a = 1 ; const b = 2;\n",
        expect![[r#"
        neuron A { reset { v = 1; w = 2 } }; const a = 1; const b = 2
    "#]],
    );
}

#[test]
fn long_lines_are_opened() {
    check(
        "net N {\nconnect population_one -> population_two.excitatory { rule = random(p = 0.02); weight = 1.62 mV; delay = 0.1 ms }\n}",
        expect![[r#"
            net N {
              connect population_one -> population_two.excitatory {
                rule = random(p = 0.02)
                weight = 1.62 mV
                delay = 0.1 ms
              }
            }
        "#]],
    );
    check(
        "neuron A { on excitatory(w: mV) { ge += w }; on inhibitory(w: mV) { gi += w }; reset { v = v_reset; w += b_adaptation } } # end",
        expect![[r#"
            neuron A {
              on excitatory(w: mV) { ge += w }
              on inhibitory(w: mV) { gi += w }
              reset { v = v_reset; w += b_adaptation }
            }  # end
        "#]],
    );
    check(
        "const aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa = 1; const bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb = 2 ## b",
        expect![[r#"
            const aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa = 1
            const bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb = 2  ## b
        "#]],
    );
}

#[test]
fn continuations_keep_their_breaks() {
    check(
        "const a = f(1,\n2, [\n3,\n4\n],\n\n5\n)\nconst b = 1 +\n2 *\n3\nconst c =\n4",
        expect![[r#"
        const a = f(1,
          2, [
            3,
            4
          ],
          5
        )
        const b = 1 +
          2 *
          3
        const c =
          4
    "#]],
    );
    check(
        "net A {\nlet x = f(a, # first\n# own\nb)\nlet y = # why\n1\n}",
        expect![[r#"
        net A {
          let x = f(a,  # first
            # own
            b)
          let y =  # why
            1
        }
    "#]],
    );
}

#[test]
fn comments_stay() {
    check(
        "# top\n\n\n# two\nneuron A { # of A\n\n# first\n\nparam a: real = 1# one\nparam bbbb: real = 2      # two\n\nparam c: real # three\n# last\n} # end\n# eof",
        expect![[r#"
            # top

            # two
            neuron A {  # of A
              # first

              param a: real = 1     # one
              param bbbb: real = 2  # two

              param c: real  # three
              # last
            }  # end
            # eof
        "#]],
    );
    check(
        "neuron A { param a: real = 1 ## doc\n}\nneuron B { # none\n}\nneuron C {\n# only\n}",
        expect![[r#"
        neuron A {
          param a: real = 1  ## doc
        }
        neuron B {  # none
        }
        neuron C {
          # only
        }
    "#]],
    );
    check(
        "const a = 1; # after\nconst b = 2   \r\n",
        expect![[r#"
        const a = 1  # after
        const b = 2
    "#]],
    );
}

#[test]
fn texts_with_errors_are_refused() {
    let errors = format("const x = \nconst y = 1").expect_err("a syntax error");
    assert_eq!(errors.len(), 1);
    assert_eq!(errors[0].code, "E0101");
}
