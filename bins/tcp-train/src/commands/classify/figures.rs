//! Figures of a classifier: how many flows of each class it took for which.

use serde::{Deserialize, Serialize};

/// Number of flows by class and by verdict.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Confusion {
    classes: usize,
    /// Flows of class `i` with the verdict `j`, at `i * classes + j`.
    counts: Vec<u64>,
}

/// Figures over all classes.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Figures {
    /// Mean of the classes' F1.
    pub(crate) macro_f1: f64,
    /// Mean of the classes' recall.
    pub(crate) balanced_accuracy: f64,
    /// Share of the flows whose verdict is right.
    pub(crate) accuracy: f64,
}

/// Figures of one class.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct ClassFigures {
    /// Share of the flows with this verdict that are of the class.
    pub(crate) precision: f64,
    /// Share of the class's flows with this verdict.
    pub(crate) recall: f64,
    /// Harmonic mean of both.
    pub(crate) f1: f64,
}

impl Confusion {
    /// Creates the counts of no flow.
    pub(crate) fn new(classes: usize) -> Confusion {
        Confusion { classes, counts: vec![0; classes * classes] }
    }

    /// Counts a flow of a class by its verdict.
    pub(crate) fn add(&mut self, class: usize, verdict: usize) {
        self.counts[class * self.classes + verdict] += 1;
    }

    /// Returns the figures of a class.
    pub(crate) fn class(&self, class: usize) -> ClassFigures {
        let share = |part: u64, of: u64| if of == 0 { 0.0 } else { part as f64 / of as f64 };
        let right = self.counts[class * self.classes + class];
        let (precision, recall) =
            (share(right, self.with_verdict(class)), share(right, self.of(class)));
        let sum = precision + recall;
        let f1 = if sum == 0.0 { 0.0 } else { 2.0 * precision * recall / sum };
        ClassFigures { precision, recall, f1 }
    }

    /// Returns the figures over the classes that have flows.
    pub(crate) fn figures(&self) -> Figures {
        let classes: Vec<usize> = (0..self.classes).filter(|&class| self.of(class) > 0).collect();
        let mean = |value: fn(ClassFigures) -> f64| {
            let sum: f64 = classes.iter().map(|&class| value(self.class(class))).sum();
            sum / classes.len().max(1) as f64
        };
        let right: u64 =
            (0..self.classes).map(|class| self.counts[class * self.classes + class]).sum();
        let all: u64 = self.counts.iter().sum();
        Figures {
            macro_f1: mean(|class| class.f1),
            balanced_accuracy: mean(|class| class.recall),
            accuracy: right as f64 / all.max(1) as f64,
        }
    }

    /// Returns the number of flows of a class.
    fn of(&self, class: usize) -> u64 {
        self.counts[class * self.classes..][..self.classes].iter().sum()
    }

    /// Returns the number of flows with a verdict.
    fn with_verdict(&self, verdict: usize) -> u64 {
        self.counts.iter().skip(verdict).step_by(self.classes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_means_over_the_classes_that_have_flows() {
        let mut all = Confusion::new(3);
        for (class, verdict, count) in [(0, 0, 8), (0, 1, 2), (1, 1, 1), (1, 0, 1)] {
            (0..count).for_each(|_| all.add(class, verdict));
        }
        let [first, second] = [all.class(0), all.class(1)];
        assert_eq!((first.recall, second.recall), (0.8, 0.5));
        assert_eq!((first.precision, second.precision), (8.0 / 9.0, 1.0 / 3.0));
        let figures = all.figures();
        assert_eq!(figures.balanced_accuracy, 0.65);
        assert_eq!(figures.accuracy, 0.75);
        assert!((figures.macro_f1 - (first.f1 + second.f1) / 2.0).abs() < 1e-12);
        assert_eq!(all.class(2), ClassFigures::default());
    }
}
