//! Who waits for an answer, and since when: the lag of a pipeline.
//!
//! Promises: exact, and cheap on the hot path: one short lock to come and one to go. Must not know: what is waited for.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Those who wait, in the order in which they came.
#[derive(Debug, Default)]
pub struct Waiting(Mutex<Queue>);

#[derive(Debug, Default)]
struct Queue {
    /// The number of the first place.
    first: u64,
    /// Since when each waits; none for one who left before those who came earlier.
    places: VecDeque<Option<Instant>>,
}

impl Waiting {
    /// Somebody comes; gives the place to leave with.
    pub(super) fn come(&self) -> u64 {
        let mut queue = self.queue();
        // Under the lock, so that places are in order of time.
        queue.places.push_back(Some(Instant::now()));
        queue.first + queue.places.len() as u64 - 1
    }

    /// Whoever has this place leaves.
    pub(super) fn leave(&self, place: u64) {
        let mut queue = self.queue();
        let index = usize::try_from(place.wrapping_sub(queue.first)).ok();
        if let Some(place) = index.and_then(|index| queue.places.get_mut(index)) {
            *place = None;
        }
        while let Some(None) = queue.places.front() {
            queue.places.pop_front();
            queue.first += 1;
        }
    }

    /// How long the one who came first has been waiting; nothing where nobody waits.
    pub fn longest(&self) -> Duration {
        let oldest = self.queue().places.front().copied().flatten();
        oldest.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Whole even after a panic elsewhere: nothing in a critical section can.
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nobody_waits_for_no_time() {
        assert_eq!(Waiting::default().longest(), Duration::ZERO);
    }

    #[tokio::test]
    async fn the_one_who_came_first_waits_longest() {
        let (waiting, a_while) = (Waiting::default(), Duration::from_millis(50));
        waiting.come();
        tokio::time::sleep(a_while).await;
        waiting.come();
        assert!(waiting.longest() >= a_while);
    }

    proptest! {
        /// Whoever leaves, in whatever order: the first place is that of the one who came first among those left.
        #[test]
        fn the_oldest_of_those_left_stands_first(steps in prop::collection::vec(any::<Option<prop::sample::Index>>(), 1..200)) {
            let waiting = Waiting::default();
            let mut here: Vec<u64> = Vec::new();
            for step in steps {
                match step {
                    Some(index) if !here.is_empty() => waiting.leave(here.remove(index.index(here.len()))),
                    _ => here.push(waiting.come()),
                }
                let queue = waiting.queue();
                prop_assert_eq!(here.first().copied(), queue.places.front().map(|_| queue.first));
                prop_assert_eq!(queue.places.iter().flatten().count(), here.len());
                prop_assert!(queue.places.iter().flatten().is_sorted());
            }
        }
    }
}
