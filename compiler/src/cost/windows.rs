//! Chains side by side whose inputs lie in windows: in each step every chain takes its next link if that one's input is among
//! the eight from the first that any of them waits for. A register of inputs then serves all chains of a slice.

/// Chains of a slice, and inputs of a window.
pub(crate) const WINDOW: usize = 8;
/// Slices that are computed together.
pub(crate) const SLICES: usize = 4;
/// Chains of the slices that are computed together.
pub(crate) const TOGETHER: usize = WINDOW * SLICES;

/// The chains from long to short, so that those of a slice, and slices that are computed together, are about as long.
pub(crate) fn order(links: &[Vec<u32>]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..links.len()).collect();
    order.sort_by_key(|o| std::cmp::Reverse(links[*o].len()));
    order
}

/// One past the last input that is used, if there are enough for a window.
pub(crate) fn end(links: &[Vec<u32>]) -> Option<u32> {
    let last = links.iter().filter_map(|l| l.last()).max()?;
    (*last as usize + 1 >= WINDOW).then_some(last + 1)
}

/// Calls `each` for the steps of a slice: with the first input of its window and, for each chain, the link that it takes.
/// No window begins so late that it ends behind `end`.
pub(crate) fn steps(slice: &[&[u32]], end: u32, mut each: impl FnMut(u32, &[Option<usize>])) {
    let mut next = vec![0; slice.len()];
    let mut taken = vec![None; slice.len()];
    loop {
        let first = slice.iter().zip(&next).filter_map(|(l, n)| l.get(*n)).min();
        let Some(first) = first else { return };
        let first = (*first).min(end - WINDOW as u32);
        for ((links, n), taken) in slice.iter().zip(&mut next).zip(&mut taken) {
            *taken = links.get(*n).filter(|i| **i - first < WINDOW as u32).map(|_| *n);
            *n += usize::from(taken.is_some());
        }
        each(first, &taken);
    }
}

/// The steps that all slices take: as many as the longest of those that are computed together. `None` where inputs are too
/// few for a window.
pub(crate) fn count(links: &[Vec<u32>]) -> Option<u64> {
    let end = end(links)?;
    let order = order(links);
    let mut sum = 0;
    for together in order.chunks(TOGETHER) {
        let mut longest = 0u64;
        for slice in together.chunks(WINDOW) {
            let slice: Vec<&[u32]> = slice.iter().map(|o| links[*o].as_slice()).collect();
            let mut n = 0;
            steps(&slice, end, |_, _| n += 1);
            longest = longest.max(n);
        }
        sum += longest * SLICES as u64;
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_link_is_taken_once_in_order_and_in_its_window() {
        let links: Vec<Vec<u32>> =
            (0..11u32).map(|o| (0..97).filter(|i| (i * 7 + o * 5) % (4 + o) == 0).collect()).collect();
        let end = end(&links).expect("enough inputs");
        let slices: Vec<&[u32]> = links.iter().map(Vec::as_slice).collect();
        for slice in slices.chunks(WINDOW) {
            let mut taken = vec![0; slice.len()];
            steps(slice, end, |first, links| {
                assert!(first + WINDOW as u32 <= end);
                assert!(links.iter().any(Option::is_some));
                for (c, link) in links.iter().enumerate() {
                    let Some(link) = link else { continue };
                    assert_eq!(*link, taken[c]);
                    taken[c] += 1;
                    assert!((first..first + WINDOW as u32).contains(&slice[c][*link]));
                }
            });
            let lengths: Vec<usize> = slice.iter().map(|l| l.len()).collect();
            assert_eq!(taken, lengths);
        }
    }

    #[test]
    fn slices_that_are_computed_together_take_as_many_steps() {
        // Chains whose inputs are the same take a step for each; those that are empty wait for the others.
        let links: Vec<Vec<u32>> = (0..33).map(|o| if o < 8 { vec![0, 16, 32] } else { Vec::new() }).collect();
        assert_eq!(count(&links), Some(3 * 4));
        assert_eq!(count(&[vec![6]]), None);
        assert_eq!(count(&[vec![7]]), Some(4));
    }
}
