use super::*;
use proptest::prelude::*;

/// A torus of neurons, each with its neighbours up to two away, some of whose synapses go anywhere.
fn grid(side: u32, astray: u64, seed: u64) -> Table {
    let mut t = Table::new();
    let mut random = Random::new(seed);
    let n = i64::from(side);
    for k in 0..n * n {
        let mut to = Vec::new();
        for (dx, dy) in (-2..=2).flat_map(|x| (-2..=2).map(move |y| (x, y))).filter(|d| *d != (0, 0)) {
            to.push(match random.below(100) < astray {
                true => random.below((n * n) as u64) as u32,
                false => ((k / n + dy).rem_euclid(n) * n + (k % n + dx).rem_euclid(n)) as u32,
            });
        }
        t.add(Some(k as u32), 1, to);
    }
    t
}

fn problem(t: &Table, n: usize, capacity: u64) -> Problem<'_> {
    Problem { weight: vec![1; n], kind: Vec::new(), capacity, spikes: t }
}

fn packets(p: &Problem<'_>, method: Method) -> u64 {
    let by = partition(p, method, 1).expect("a partition");
    assert!(p.fits(&by), "{method:?}");
    measure(p, &by).packets
}

#[test]
fn a_grid_is_cut_into_squares() {
    let t = grid(48, 0, 1);
    let p = problem(&t, 48 * 48, 40);
    let (rows, edges, ours) =
        (packets(&p, Method::Sequential), packets(&p, Method::EdgeCut), packets(&p, Method::Connectivity));
    // A strip of 40 neurons is seen from five rows, a square of six by six from ten by ten: 2.8 of them for a spike.
    assert!(ours * 10 < rows * 5 && ours <= edges, "{rows} {edges} {ours}");
}

#[test]
fn streamed_partitions_are_about_as_good() {
    let t = grid(64, 2, 3);
    let p = problem(&t, 64 * 64, 48);
    let held = packets(&p, Method::Connectivity);
    let parts = (4096f64 * SPARE / 48.0).ceil() as u32;
    for metric in [Metric::Connectivity, Metric::Edges] {
        let part = stream::partition(&p, parts, metric, &mut Random::new(5));
        let by = Partition { part, parts };
        assert!(p.fits(&by));
        let streamed = measure(&p, &by).packets;
        assert!(streamed * 10 < held * 13, "{metric:?}: {streamed} {held}");
    }
}

#[test]
fn what_is_measured_is_what_is_sent() {
    let mut t = Table::new();
    t.add(Some(0), 3, [0, 1, 2]);
    t.add(Some(1), 1, []);
    t.add(Some(2), 1, [3, 3]);
    t.add(None, 2, [0, 3]);
    let p = problem(&t, 4, 2);
    let by = partition(&p, Method::Sequential, 0).expect("a partition");
    assert_eq!((by.part.clone(), by.parts), (vec![0, 0, 1, 1], 2));
    let m = measure(&p, &by);
    // Source 0 goes three times to cores 0 and 1, source 2 stays, the input goes twice to both.
    assert_eq!((m.packets, m.copies, m.edges, m.cores), (3 + 4, 6 + 1 + 4, 3 + 4, 3));
    assert_eq!(m.ways, [(0, vec![0, 1], 3), (1, vec![1], 1), (2, vec![0, 1], 2)]);
}

#[test]
fn a_neuron_that_fits_no_core_is_refused() {
    let t = grid(4, 0, 1);
    assert_eq!(partition(&problem(&t, 16, 0), Method::Connectivity, 1), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn partitions_fit_and_are_never_worse_than_in_order(
        rows in prop::collection::vec(prop::collection::vec(0u32..60, 0..8), 60),
        weights in prop::collection::vec(1u32..5, 60),
        kinds in prop::collection::vec(0u32..3, 60),
        apart: bool,
        inputs in 0usize..20,
        capacity in 8u64..60,
        seed: u64,
    ) {
        let mut t = Table::new();
        for (k, row) in rows.iter().enumerate() {
            t.add((k >= inputs).then_some(k as u32), 1 + k as u32 % 3, row.iter().copied());
        }
        let mut kind = kinds;
        kind.sort_unstable();
        let p = Problem { weight: weights, kind: if apart { kind } else { Vec::new() }, capacity, spikes: &t };
        let plain = partition(&p, Method::Sequential, seed).expect("a partition");
        prop_assert!(p.fits(&plain));
        for method in [Method::EdgeCut, Method::Connectivity] {
            let by = partition(&p, method, seed).expect("a partition");
            prop_assert!(p.fits(&by));
            prop_assert_eq!(&by, &partition(&p, method, seed).expect("a partition"));
            let (found, order) = (measure(&p, &by), measure(&p, &plain));
            match method {
                Method::Connectivity => prop_assert!(found.packets <= order.packets),
                _ => prop_assert!(found.edges <= order.edges),
            }
        }
    }
}
