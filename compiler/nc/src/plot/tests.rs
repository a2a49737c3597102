use super::collect::Collector;
use super::figure::render;
use super::{Kind, kind_of};
use nc_ir::DType;
use nc_runtime::run::{Face, Port};
use std::path::Path;

/// A synthetic network: `n` cells over `ticks` ticks, and two traces.
fn busy(n: usize, ticks: u64, one_in: u64) -> Collector {
    let port = |name: &str, dtype, n, every| Port { name: name.into(), dtype, shape: vec![n], every };
    let face = Face {
        inputs: vec![],
        outputs: vec![port("spikes", DType::Bool, n, 1)],
        probes: vec![port("P.v", DType::F32, 5, 10), port("clicks", DType::Bool, 4, 1)],
    };
    let mut c = Collector::new(&face, 0, ticks, 1);
    let mut state = 1u64;
    for t in 0..ticks {
        let frame: Vec<u8> = (0..n)
            .map(|k| {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                let wave = 1 + (t / 500) % 3;
                u8::from((state >> 33) % one_in < wave && !(k > n / 2 && t < ticks / 10))
            })
            .collect();
        c.take(0, t, 1, 1, &frame);
        if t % 10 == 0 {
            let v: Vec<u8> =
                (0..5u8).flat_map(|k| ((t as f32 / 300.0 + f32::from(k)).sin() * 5.0 - 55.0).to_le_bytes()).collect();
            c.take(1, t, 1, 1, &v);
        }
        c.take(2, t, 1, 1, &[u8::from(t % 900 == 0), 0, u8::from(t % 400 == 7), 1]);
    }
    c
}

#[test]
fn a_vector_figure_stays_small_at_any_activity() {
    for one_in in [20_000, 400, 3] {
        let svg = render(&busy(4000, 10_000, one_in), Kind::Svg, "Cuba", Some(1e-4)).unwrap();
        assert!(svg.len() < 2 << 20, "1 in {one_in}: {} bytes", svg.len());
        let text = String::from_utf8(svg).unwrap();
        for part in ["<svg", "spikes", "time (ms)", "P.v", "4,000 cells", "</svg>"] {
            assert!(text.contains(part), "{part}");
        }
    }
}

#[test]
fn a_bitmap_has_text_and_marks() {
    let png = render(&busy(100, 2000, 300), Kind::Png, "Small", None).unwrap();
    assert!(png.starts_with(b"\x89PNG\r\n\x1a\n"));
    let mut reader = png::Decoder::new(std::io::Cursor::new(png)).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size()];
    let info = reader.next_frame(&mut pixels).unwrap();
    assert_eq!(info.width, 2000);
    // Ink in the title's corner: letters were drawn without any font on the machine.
    let dark = |x0: usize, x1: usize, y0: usize, y1: usize| {
        (y0..y1).flat_map(|y| (x0..x1).map(move |x| (x, y))).filter(|(x, y)| pixels[(y * 2000 + x) * 3] < 0x80).count()
    };
    assert!(dark(20, 200, 20, 70) > 100, "no title");
}

#[test]
fn nothing_and_almost_nothing_can_be_drawn() {
    let empty = Face::default();
    for kind in [Kind::Svg, Kind::Png] {
        assert!(!render(&Collector::new(&empty, 0, 0, 1), kind, "", None).unwrap().is_empty());
        let one = Face {
            outputs: vec![
                Port { name: "y".into(), dtype: DType::F32, shape: vec![], every: 1 },
                Port { name: "none".into(), dtype: DType::Bool, shape: vec![0], every: 1 },
                Port { name: "z".into(), dtype: DType::Bool, shape: vec![], every: 1 },
            ],
            ..Face::default()
        };
        let mut c = Collector::new(&one, 5, 1, 1);
        c.take(0, 5, 1, 1, &f32::NAN.to_le_bytes());
        c.take(2, 5, 1, 1, &[1]);
        assert!(!render(&c, kind, "one", Some(1e-3)).unwrap().is_empty());
    }
}

#[test]
fn the_ending_tells_the_format() {
    assert_eq!(kind_of(Path::new("a.SVG")), Ok(Kind::Svg));
    assert_eq!(kind_of(Path::new("a.png")), Ok(Kind::Png));
    assert_eq!(kind_of(Path::new("a.pdf")).unwrap_err().code, "E0830");
}

/// Writes figures to look at: `NC_PLOT_DIR=/tmp cargo test -p nc -- --ignored look`.
#[test]
#[ignore = "writes files for people to look at"]
fn look() {
    let dir = std::env::var("NC_PLOT_DIR").expect("NC_PLOT_DIR");
    for (name, c) in [("cuba", busy(4000, 10_000, 8000)), ("small", busy(20, 300, 60))] {
        for (kind, ending) in [(Kind::Svg, "svg"), (Kind::Png, "png")] {
            std::fs::write(format!("{dir}/{name}.{ending}"), render(&c, kind, name, Some(1e-4)).unwrap()).unwrap();
        }
    }
}
