//! Learning rate schedule: linear warmup, then half a cosine (Loshchilov and Hutter, arXiv
//! 1608.03983).

/// Learning rate of a run as a function of its progress.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Schedule {
    /// Highest learning rate, reached at the end of the warmup.
    pub peak: f64,
    /// Fraction of the run that the warmup takes, 0 to 1.
    pub warmup: f64,
    /// Learning rate at the end of the run, as a fraction of `peak`.
    pub final_rate: f64,
}

impl Schedule {
    /// Returns the learning rate when the fraction `completed` of the run, 0 to 1, is over.
    #[must_use]
    pub fn rate(&self, completed: f64) -> f64 {
        let completed = completed.clamp(0.0, 1.0);
        if completed < self.warmup {
            // At least 1 % of the peak: AdamW's first step would do nothing at a rate of 0.
            return self.peak * (completed / self.warmup).max(0.01);
        }
        let decayed = (completed - self.warmup) / (1.0 - self.warmup).max(1e-9);
        let cosine = 0.5 * (1.0 + (std::f64::consts::PI * decayed).cos());
        self.peak * (self.final_rate + (1.0 - self.final_rate) * cosine)
    }
}

#[cfg(test)]
mod tests {
    use super::Schedule;

    #[test]
    fn rises_then_falls_to_its_end() {
        let schedule = Schedule { peak: 2.0, warmup: 0.1, final_rate: 0.05 };
        for (completed, expected) in [(0.05, 1.0), (0.1, 2.0), (0.55, 1.05), (1.0, 0.1), (7.0, 0.1)]
        {
            assert!((schedule.rate(completed) - expected).abs() < 1e-9, "{completed}");
        }
    }
}
