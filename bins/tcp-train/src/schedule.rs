//! The learning rate over a run.

/// The learning rate when `done` (0 to 1) of the run is behind: up in a line, then down in half a
/// cosine.
pub fn learning_rate(done: f64, highest: f64, warm_up: f64, final_rate: f64) -> f64 {
    let done = done.clamp(0.0, 1.0);
    if done < warm_up {
        return highest * (done / warm_up).max(0.01);
    }
    let falling = (done - warm_up) / (1.0 - warm_up).max(1e-9);
    let cosine = 0.5 * (1.0 + (std::f64::consts::PI * falling).cos());
    highest * (final_rate + (1.0 - final_rate) * cosine)
}

#[cfg(test)]
mod tests {
    use super::learning_rate;

    #[test]
    fn rises_then_falls_to_its_end() {
        let at = |done| learning_rate(done, 2.0, 0.1, 0.05);
        assert!((at(0.05) - 1.0).abs() < 1e-9);
        assert!((at(0.1) - 2.0).abs() < 1e-9);
        assert!((at(0.55) - 1.05).abs() < 1e-9);
        assert!((at(1.0) - 0.1).abs() < 1e-9);
        assert!((at(7.0) - 0.1).abs() < 1e-9);
    }
}
