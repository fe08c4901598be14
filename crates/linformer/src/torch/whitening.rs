//! Whitening of vectors: zero mean and unit variance in every direction of the training vectors.

use tch::{Device, Kind, Tensor};

use super::probe::{LinearProbe, Rows};
use crate::ModelError;

/// Least variance of a direction that is kept, as a share of the largest one.
const LEAST_VARIANCE: f64 = 1e-6;

/// Linear map of vectors of `F` values to `D` uncorrelated ones, in order of their variance in the
/// vectors that it was fitted to.
#[derive(Clone, PartialEq, Debug)]
pub struct Whitening {
    /// Mean of the vectors, `[F]`.
    pub mean: Vec<f32>,
    /// Directions, each divided by the standard deviation in it, `[D, F]`.
    pub map: Vec<f32>,
}

impl Whitening {
    /// Fits a whitening with at most `most` directions, those of the largest variance.
    ///
    /// # Errors
    /// As [`WhiteningSums::finish`].
    pub fn fit(rows: Rows<'_>, most: usize) -> Result<Whitening, ModelError> {
        let mut sums = WhiteningSums::new(rows.width);
        sums.add(rows);
        sums.finish(most)
    }

    /// Returns the number of values of a whitened vector, `D`.
    #[must_use]
    pub fn width(&self) -> usize {
        self.map.len() / self.mean.len().max(1)
    }

    /// Whitens vectors, `[N, F]`: `[N, D]`.
    ///
    /// # Errors
    /// If libtorch fails, as without memory.
    pub fn apply(&self, rows: Rows<'_>) -> Result<Vec<f32>, ModelError> {
        let (d, f) = (self.width() as i64, self.mean.len() as i64);
        let map = Tensor::from_slice(&self.map).view([d, f]).to_kind(Kind::Double);
        let mean = Tensor::from_slice(&self.mean).to_kind(Kind::Double);
        let whitened = (rows.to_tensor() - mean).matmul(&map.tr()).to_kind(Kind::Float);
        Ok(Vec::try_from(&whitened.flatten(0, 1))?)
    }

    /// Returns the classifier of vectors that are not whitened, for one of whitened ones.
    #[must_use]
    pub fn before(&self, probe: &LinearProbe) -> LinearProbe {
        let (k, d, f) = (probe.bias.len() as i64, self.width() as i64, self.mean.len() as i64);
        let double = |values: &[f32]| Tensor::from_slice(values).to_kind(Kind::Double);
        let map = double(&self.map).view([d, f]);
        let weight = double(&probe.weight).view([k, d]).matmul(&map); // [K, F]
        let bias = double(&probe.bias) - weight.matmul(&double(&self.mean));
        let values = |tensor: &Tensor| {
            let flat = tensor.to_kind(Kind::Float).flatten(0, -1);
            Vec::try_from(&flat).unwrap_or_default()
        };
        LinearProbe { weight: values(&weight), bias: values(&bias) }
    }
}

/// Sums over vectors, from which a whitening is fitted. Memory does not grow with their number.
#[derive(Debug)]
pub struct WhiteningSums {
    count: f64,
    /// Sum of the vectors, `[F]`.
    sum: Tensor,
    /// Sum of the products of their values, `[F, F]`.
    products: Tensor,
}

impl WhiteningSums {
    /// Creates the sums over no vector of `width` values.
    #[must_use]
    pub fn new(width: usize) -> WhiteningSums {
        let zeros = |shape: &[i64]| Tensor::zeros(shape, (Kind::Double, Device::Cpu));
        let f = width as i64;
        WhiteningSums { count: 0.0, sum: zeros(&[f]), products: zeros(&[f, f]) }
    }

    /// Adds vectors to the sums.
    pub fn add(&mut self, rows: Rows<'_>) {
        let x = rows.to_tensor();
        self.count += x.size()[0] as f64;
        self.sum += x.sum_dim_intlist([0].as_slice(), false, Kind::Double);
        self.products += x.tr().matmul(&x);
    }

    /// Fits a whitening with at most `most` directions, those of the largest variance.
    ///
    /// # Errors
    /// If libtorch fails, as without memory or for vectors with a NaN.
    pub fn finish(&self, most: usize) -> Result<Whitening, ModelError> {
        let count = self.count.max(1.0);
        let mean = &self.sum / count;
        let covariance = &self.products / count - mean.outer(&mean);
        let (variances, directions) = covariance.f_linalg_eigh("L")?;
        // Ascending: the largest ones are the last.
        let largest = variances.max().double_value(&[]).max(f64::MIN_POSITIVE);
        let least = largest * LEAST_VARIANCE;
        let kept = variances.ge(least).sum(Kind::Int64).int64_value(&[]).min(most as i64).max(1);
        let all = variances.size()[0];
        let variances = variances.narrow(0, all - kept, kept).clamp_min(least);
        let map = directions.narrow(1, all - kept, kept) / variances.sqrt();
        let map = map.tr().flip([0]).contiguous().to_kind(Kind::Float);
        Ok(Whitening {
            mean: Vec::try_from(&mean.to_kind(Kind::Float))?,
            map: Vec::try_from(&map.flatten(0, 1))?,
        })
    }
}
