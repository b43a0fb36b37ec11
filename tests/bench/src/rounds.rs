//! Medians of interleaved rounds, so that a machine that is busy for a while slows the floor and ours alike.

use anyhow::Result;

/// Something that is measured once for each round.
pub(crate) type Sample<'a> = &'a mut dyn FnMut() -> Result<f64>;

/// Takes each sample in turn, so many times, and returns the median of each.
pub(crate) fn medians<const N: usize>(rounds: usize, mut samples: [Sample<'_>; N]) -> Result<[f64; N]> {
    let mut taken = [const { Vec::new() }; N];
    for _ in 0..rounds {
        for (sample, taken) in samples.iter_mut().zip(&mut taken) {
            taken.push(sample()?);
        }
    }
    Ok(taken.map(median))
}

/// The median; of an even number the upper of the two in the middle, and 0 of none.
pub(crate) fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples.get(samples.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_interleaved_and_each_has_its_own_median() {
        let order = std::cell::RefCell::new(Vec::new());
        let (mut a, mut b) = ([3.0, 1.0, 2.0].into_iter(), [30.0, 10.0, 90.0].into_iter());
        let mut take = |name, from: &mut std::array::IntoIter<f64, 3>| {
            order.borrow_mut().push(name);
            Ok(from.next().expect("one for each round"))
        };
        let take = std::cell::RefCell::new(&mut take);
        let [a, b] =
            medians(3, [&mut || (take.borrow_mut())("a", &mut a), &mut || (take.borrow_mut())("b", &mut b)])
                .expect("nothing fails");
        assert_eq!((a, b), (2.0, 30.0));
        assert_eq!(order.into_inner().concat(), "ababab");
    }
}
