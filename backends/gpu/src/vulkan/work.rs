//! What a launch is handed over as: dispatches in an order.

use super::pace::Pace;
use crate::launch::Grid;
use crate::plan::{LOOPS, Turn};

/// Arguments of a launch.
pub(super) const WORDS: usize = 8;
/// Which of them is the first tick, and how many ticks there are.
const FIRST: usize = 4;
const TICKS: usize = 5;

/// A launch of an entry of the code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Dispatch {
    /// Number of the entry.
    pub entry: usize,
    /// Its arguments.
    pub words: Vec<u64>,
}

/// How the ticks of a launch are cut into dispatches.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way<'a> {
    /// Many ticks in each: the code has one entry.
    Together,
    /// One tick in each.
    Apart,
    /// Phase by phase.
    Phases(&'a [Turn]),
}

/// Runs dispatches of so many blocks, one after another, and says how many seconds they took.
type Submit<'a> = &'a mut dyn FnMut(&[Dispatch], u32) -> Result<f64, String>;

/// Takes the number of an entry and the iterations of the loops around it.
type Each<'a> = &'a mut dyn FnMut(usize, &[u64]) -> Result<(), String>;

/// Hands over what a launch with these arguments is, some dispatches at a time. `submit` is given the dispatches, and how
/// many blocks of threads each has, and says how many seconds they took.
pub(super) fn hand_over(
    way: Way<'_>,
    (grid, words): (Grid, [u64; WORDS]),
    pace: &mut Pace,
    submit: Submit<'_>,
) -> Result<(), String> {
    let (first, ticks) = (words[FIRST], words[TICKS]);
    pace.begin(words[6]);
    let with = |first: u64, ticks: u64| {
        let mut own = words.to_vec();
        (own[FIRST], own[TICKS]) = (first, ticks);
        own
    };
    let mut open: Vec<Dispatch> = Vec::new();
    let mut flush = |open: &mut Vec<Dispatch>, pace: &mut Pace, amount: u64| -> Result<(), String> {
        let took = submit(open, grid.blocks)?;
        pace.took(amount, took);
        open.clear();
        Ok(())
    };
    if let Way::Together = way {
        let mut done = 0;
        while done < ticks {
            let some = pace.amount().min(ticks - done);
            open.push(Dispatch { entry: 0, words: with(first + done, some) });
            flush(&mut open, pace, some)?;
            done += some;
        }
        return Ok(());
    }
    for tick in first..first + ticks {
        let mut each = |entry: usize, around: &[u64]| {
            let mut words = with(tick, 1);
            words.extend_from_slice(around);
            open.push(Dispatch { entry, words });
            let amount = open.len() as u64;
            if amount >= pace.amount() { flush(&mut open, pace, amount) } else { Ok(()) }
        };
        match way {
            Way::Phases(order) => turns(order, &mut Vec::new(), &mut each)?,
            Way::Together | Way::Apart => each(0, &[])?,
        }
    }
    match open.len() as u64 {
        0 => Ok(()),
        amount => flush(&mut open, pace, amount),
    }
}

/// Goes through a course: calls `each` with the number of an entry and the iterations of the loops around it.
fn turns(order: &[Turn], around: &mut Vec<u64>, each: Each<'_>) -> Result<(), String> {
    for turn in order {
        match turn {
            Turn::Phase(n) => each(*n, around)?,
            Turn::Loop { body, .. } if !runs(body) => {}
            Turn::Loop { trips, body } if around.len() < LOOPS => {
                for i in 0..*trips {
                    around.push(i);
                    let done = turns(body, around, each);
                    around.pop();
                    done?;
                }
            }
            Turn::Loop { .. } => return Err(format!("loops more than {LOOPS} deep")),
        }
    }
    Ok(())
}

/// Whether there is a phase in a course.
fn runs(order: &[Turn]) -> bool {
    order.iter().any(|t| match t {
        Turn::Phase(_) => true,
        Turn::Loop { trips, body } => *trips > 0 && runs(body),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRID: Grid = Grid { blocks: 6, threads: 512, cooperative: true };
    const ARGUMENTS: [u64; WORDS] = [10, 20, 30, 40, 100, 3, 2, 64];

    /// Entry, first tick, ticks and iterations of a dispatch.
    type Handed = (usize, u64, u64, Vec<u64>);

    /// The dispatches of each submission: entry, tick, ticks, iterations.
    fn handed(way: Way<'_>, seconds: f64) -> Vec<Vec<Handed>> {
        let (mut all, mut pace) = (Vec::new(), Pace::default());
        let mut submit = |some: &[Dispatch], blocks: u32| {
            assert_eq!(blocks, 6);
            all.push(some.iter().map(|d| (d.entry, d.words[4], d.words[5], d.words[8..].to_vec())).collect());
            assert!(some.iter().all(|d| d.words[..4] == ARGUMENTS[..4] && d.words[6..8] == ARGUMENTS[6..]));
            Ok(seconds * some.len() as f64)
        };
        hand_over(way, (GRID, ARGUMENTS), &mut pace, &mut submit).expect("nothing fails");
        all
    }

    #[test]
    fn ticks_are_together_or_apart() {
        let none = Vec::new;
        let together = handed(Way::Together, 1e-3);
        assert_eq!(together, [vec![(0, 100, 1, none())], vec![(0, 101, 2, none())]]);
        let apart = handed(Way::Apart, 1e-3);
        assert_eq!(apart, [vec![(0, 100, 1, none())], vec![(0, 101, 1, none()), (0, 102, 1, none())]]);
    }

    #[test]
    fn phases_come_in_their_order_and_know_their_iterations() {
        let inner = vec![Turn::Phase(1), Turn::Loop { trips: 2, body: vec![Turn::Phase(2)] }];
        let order = [Turn::Phase(0), Turn::Loop { trips: 2, body: inner }];
        let all: Vec<_> = handed(Way::Phases(&order), 1.0).concat();
        let tick = |t: u64| {
            let of = |entry: usize, around: &[u64]| (entry, t, 1, around.to_vec());
            let row = |i| [of(1, &[i]), of(2, &[i, 0]), of(2, &[i, 1])];
            [vec![of(0, &[])], row(0).to_vec(), row(1).to_vec()].concat()
        };
        assert_eq!(all, [tick(100), tick(101), tick(102)].concat());
        // Loops of nothing end at once.
        let nothing = [Turn::Loop { trips: u64::MAX, body: vec![Turn::Loop { trips: u64::MAX, body: Vec::new() }] }];
        assert_eq!(handed(Way::Phases(&nothing), 1.0).len(), 0);
        // Slow ones are handed over one by one, fast ones together.
        assert_eq!(handed(Way::Phases(&order), 1.0).len(), 21);
        assert!(handed(Way::Phases(&order), 1e-6).len() < 5);
    }

    #[test]
    fn what_fails_ends_the_launch() {
        let mut calls = 0;
        let mut submit = |_: &[Dispatch], _| {
            calls += 1;
            Err("lost".to_owned())
        };
        let done = hand_over(Way::Apart, (GRID, ARGUMENTS), &mut Pace::default(), &mut submit);
        assert_eq!((done, calls), (Err("lost".to_owned()), 1));
    }
}
