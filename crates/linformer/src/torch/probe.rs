//! Linear classifier of vectors: multinomial logistic regression with an L2 penalty, fitted by
//! L-BFGS (Nocedal and Wright, Numerical Optimization, algorithm 7.5).

use tch::{Kind, Reduction, Tensor};

use crate::ModelError;

/// Pairs of steps and changes of the gradient that L-BFGS keeps.
const HISTORY: usize = 10;
/// Iterations of L-BFGS, at most.
const MAX_ITERATIONS: usize = 200;
/// Largest entry of the gradient at which the fit is done.
const TOLERANCE: f64 = 1e-5;

/// Rows of numbers, one behind the other. `F` is the number of values of a row.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// Values of all rows, `[N, F]`.
    pub values: &'a [f32],
    /// Number of values of a row, `F`.
    pub width: usize,
}

impl Rows<'_> {
    /// Returns the rows as a tensor of 64 bits, `[N, F]`.
    pub(crate) fn to_tensor(self) -> Tensor {
        let rows = (self.values.len() / self.width.max(1)) as i64;
        Tensor::from_slice(self.values).view([rows, self.width as i64]).to_kind(Kind::Double)
    }
}

/// Linear classifier: scores of `K` classes are `weight x + bias`.
#[derive(Clone, PartialEq, Debug, serde::Serialize, serde::Deserialize)]
pub struct LinearProbe {
    /// Weights, `[K, F]`, one class behind the other.
    pub weight: Vec<f32>,
    /// Score of each class for a vector of zeros, `[K]`.
    pub bias: Vec<f32>,
}

impl LinearProbe {
    /// Fits a classifier: least mean cross-entropy, in which the row `i` counts `weights[i]` times,
    /// plus `l2 / 2` times the sum of the squared weights of the classes.
    ///
    /// # Errors
    /// If libtorch fails, as without memory.
    pub fn fit(
        rows: Rows<'_>,
        classes: &[i64],
        class_count: usize,
        weights: &[f32],
        l2: f64,
    ) -> Result<LinearProbe, ModelError> {
        let (x, classes) = (rows.to_tensor(), Tensor::from_slice(classes));
        let weights = Tensor::from_slice(weights).to_kind(Kind::Double);
        let weights = &weights / weights.sum(Kind::Double);
        let (k, f) = (class_count as i64, rows.width as i64);
        let loss = |theta: &Tensor| {
            let [weight, bias] = parts(theta, k, f);
            let scores = x.matmul(&weight.tr()) + bias;
            let losses =
                scores.cross_entropy_loss::<Tensor>(&classes, None, Reduction::None, -100, 0.0);
            (losses * &weights).sum(Kind::Double) + weight.square().sum(Kind::Double) * (l2 / 2.0)
        };
        let theta = minimize(&Tensor::zeros([k * (f + 1)], (Kind::Double, tch::Device::Cpu)), loss);
        let [weight, bias] = parts(&theta, k, f);
        let values = |tensor: &Tensor| Vec::try_from(&tensor.to_kind(Kind::Float).flatten(0, -1));
        Ok(LinearProbe { weight: values(&weight)?, bias: values(&bias)? })
    }

    /// Computes the probability of each class for each row, `[N, K]`.
    ///
    /// # Errors
    /// If libtorch fails, as without memory.
    pub fn probabilities(&self, rows: Rows<'_>) -> Result<Vec<f32>, ModelError> {
        let (k, f) = (self.bias.len() as i64, rows.width as i64);
        let weight = Tensor::from_slice(&self.weight).view([k, f]).to_kind(Kind::Double);
        let bias = Tensor::from_slice(&self.bias).to_kind(Kind::Double);
        let scores = rows.to_tensor().matmul(&weight.tr()) + bias;
        let probabilities = scores.softmax(-1, Kind::Float);
        Ok(Vec::try_from(&probabilities.flatten(0, -1))?)
    }
}

/// Returns the `k` nearest of `rows` for each of `asked`, the nearest first, by Euclidean distance;
/// fewer if there are not `k`.
///
/// # Errors
/// If libtorch fails, as without memory.
pub fn nearest(rows: Rows<'_>, asked: Rows<'_>, k: usize) -> Result<Vec<Vec<i64>>, ModelError> {
    /// Number of rows that are asked about at once: the distances to all rows are in memory.
    const AT_ONCE: usize = 256;
    let rows = rows.to_tensor().to_kind(Kind::Float);
    let k = (k as i64).min(rows.size()[0]);
    let mut near = Vec::new();
    for values in asked.values.chunks(AT_ONCE * asked.width.max(1)) {
        let some = Rows { values, width: asked.width }.to_tensor().to_kind(Kind::Float);
        let (_, indices) = Tensor::cdist(&some, &rows, 2.0, None).topk(k, -1, false, true);
        let indices: Vec<i64> = Vec::try_from(&indices.flatten(0, 1))?;
        near.extend(indices.chunks_exact(k.max(1) as usize).map(<[i64]>::to_vec));
    }
    Ok(near)
}

/// Splits all parameters into the weights, `[K, F]`, and the biases, `[K]`.
fn parts(theta: &Tensor, k: i64, f: i64) -> [Tensor; 2] {
    [theta.narrow(0, 0, k * f).view([k, f]), theta.narrow(0, k * f, k)]
}

/// Returns the value and the gradient of a function.
fn gradient(at: &Tensor, function: &impl Fn(&Tensor) -> Tensor) -> (f64, Tensor) {
    let at = at.detach().copy().set_requires_grad(true);
    let value = function(&at);
    value.backward();
    (value.double_value(&[]), at.grad())
}

/// Minimises a convex function by L-BFGS with a backtracking line search.
fn minimize(start: &Tensor, function: impl Fn(&Tensor) -> Tensor) -> Tensor {
    let dot = |a: &Tensor, b: &Tensor| a.dot(b).double_value(&[]);
    let mut x = start.copy();
    let (mut value, mut slope) = gradient(&x, &function);
    let mut history: Vec<(Tensor, Tensor)> = Vec::new();
    for _ in 0..MAX_ITERATIONS {
        if slope.abs().max().double_value(&[]) < TOLERANCE {
            break;
        }
        let direction = -two_loops(&slope, &history);
        let descent = dot(&slope, &direction);
        // Without a history, the gradient's length says nothing of the step's.
        let mut step =
            if history.is_empty() { 1.0 / slope.norm().double_value(&[]).max(1.0) } else { 1.0 };
        let next = loop {
            let next = &x + &direction * step;
            let (next_value, next_slope) = gradient(&next, &function);
            // Armijo's condition with the usual constant (Nocedal and Wright, 3.4).
            if next_value <= value + 1e-4 * step * descent {
                break Some((next, next_value, next_slope));
            }
            step /= 2.0;
            if step < 1e-10 {
                break None;
            }
        };
        let Some((next, next_value, next_slope)) = next else { break };
        let (moved, changed) = (&next - &x, &next_slope - &slope);
        if dot(&moved, &changed) > 0.0 {
            history.push((moved, changed));
            if history.len() > HISTORY {
                drop(history.remove(0));
            }
        }
        (x, value, slope) = (next, next_value, next_slope);
    }
    x
}

/// Multiplies the gradient by the approximate inverse of the Hessian: algorithm 7.4.
fn two_loops(slope: &Tensor, history: &[(Tensor, Tensor)]) -> Tensor {
    let dot = |a: &Tensor, b: &Tensor| a.dot(b).double_value(&[]);
    let mut q = slope.copy();
    let mut alphas = Vec::new();
    for (moved, changed) in history.iter().rev() {
        let alpha = dot(moved, &q) / dot(moved, changed);
        q -= changed * alpha;
        alphas.push(alpha);
    }
    if let Some((moved, changed)) = history.last() {
        q *= dot(moved, changed) / dot(changed, changed);
    }
    for ((moved, changed), alpha) in history.iter().zip(alphas.into_iter().rev()) {
        let beta = dot(changed, &q) / dot(moved, changed);
        q += moved * (alpha - beta);
    }
    q
}
