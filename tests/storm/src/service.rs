//! A service: a fixed number of workers and a queue without end, which never hears that a caller gave up.

use std::collections::VecDeque;

/// Which try of the world's a worker works on.
pub type Work = usize;

#[derive(Debug)]
pub struct Service {
    workers: u32,
    busy: u32,
    queue: VecDeque<Work>,
}

impl Service {
    pub fn new(workers: u32) -> Service {
        Service { workers, busy: 0, queue: VecDeque::new() }
    }

    /// How many workers there are from now on; those that are too many end what they began.
    pub fn resize(&mut self, workers: u32) {
        self.workers = workers;
    }

    pub fn push(&mut self, work: Work) {
        self.queue.push_back(work);
    }

    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// What a free worker begins with now.
    pub fn begin(&mut self) -> Option<Work> {
        if self.busy >= self.workers {
            return None;
        }
        let work = self.queue.pop_front()?;
        self.busy += 1;
        Some(work)
    }

    pub fn end(&mut self) {
        self.busy -= 1;
    }
}
