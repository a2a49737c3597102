//! The matrix exponential and its integral, for exact solution of linear systems over one step.

/// `(exp(A h), integral over s in [0, h] of exp(A s))` for a row-major `n x n` matrix, computed together as the
/// exponential of the augmented matrix `[[A h, I h], [0, 0]]` by scaling, a Taylor series and squaring.
///
/// Equal and zero eigenvalues need no special case (Van Loan, "Computing integrals involving the matrix exponential",
/// 1978). The scaled norm is at most 1/2, where 20 terms leave less than 2^-60.
pub fn exp_and_integral(a: &[f64], n: usize, h: f64) -> (Vec<f64>, Vec<f64>) {
    let m = 2 * n;
    let mut g = vec![0.0; m * m];
    for i in 0..n {
        for j in 0..n {
            g[i * m + j] = a[i * n + j] * h;
        }
        g[i * m + n + i] = h;
    }
    let norm = (0..m).map(|i| g[i * m..(i + 1) * m].iter().map(|x| x.abs()).sum::<f64>()).fold(0.0, f64::max);
    let squarings = if norm > 0.5 { (norm / 0.5).log2().ceil().clamp(0.0, 1100.0) as i32 } else { 0 };
    let scale = 0.5f64.powi(squarings);
    for x in &mut g {
        *x *= scale;
    }
    let mut sum = identity(m);
    let mut term = identity(m);
    for k in 1..=20 {
        term = product(&term, &g, m);
        for x in &mut term {
            *x /= f64::from(k);
        }
        for (s, t) in sum.iter_mut().zip(&term) {
            *s += t;
        }
    }
    for _ in 0..squarings {
        sum = product(&sum, &sum, m);
    }
    let block =
        |col: usize| (0..n).flat_map(|i| (0..n).map(move |j| (i, j))).map(|(i, j)| sum[i * m + col + j]).collect();
    (block(0), block(n))
}

fn identity(n: usize) -> Vec<f64> {
    let mut a = vec![0.0; n * n];
    for i in 0..n {
        a[i * n + i] = 1.0;
    }
    a
}

fn product(a: &[f64], b: &[f64], n: usize) -> Vec<f64> {
    let mut c = vec![0.0; n * n];
    for i in 0..n {
        for k in 0..n {
            let x = a[i * n + k];
            if x != 0.0 {
                for j in 0..n {
                    c[i * n + j] += x * b[k * n + j];
                }
            }
        }
    }
    c
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_decay() {
        let (p, q) = exp_and_integral(&[-1.0 / 20.0], 1, 0.1);
        assert!((p[0] - (-0.1f64 / 20.0).exp()).abs() < 4e-16);
        assert!((q[0] - 20.0 * (1.0 - (-0.1f64 / 20.0).exp())).abs() < 1e-15);
    }

    #[test]
    fn two_decays_in_series_with_distinct_and_with_equal_time_constants() {
        // v' = (g - v) / tm, g' = -g / ts: the coefficient of g in v is ts / (ts - tm) (exp(-h/ts) - exp(-h/tm)).
        let (tm, ts, h) = (20.0f64, 5.0f64, 0.1f64);
        let (p, _) = exp_and_integral(&[-1.0 / tm, 1.0 / tm, 0.0, -1.0 / ts], 2, h);
        let want = ts / (ts - tm) * ((-h / ts).exp() - (-h / tm).exp());
        assert!((p[1] - want).abs() < 4e-16, "{} {want}", p[1]);
        // For equal time constants the coefficient is h / tau exp(-h / tau).
        let (p, _) = exp_and_integral(&[-1.0 / tm, 1.0 / tm, 0.0, -1.0 / tm], 2, h);
        let want = h / tm * (-h / tm).exp();
        assert!((p[1] - want).abs() < 4e-16, "{} {want}", p[1]);
    }

    #[test]
    fn stiff_system_is_scaled() {
        let (p, q) = exp_and_integral(&[-1e4], 1, 1.0);
        assert!(p[0].abs() < 1e-200);
        assert!((q[0] - 1e-4).abs() < 1e-14);
    }

    #[test]
    fn pure_integration() {
        let (p, q) = exp_and_integral(&[0.0], 1, 0.25);
        assert_eq!((p[0], q[0]), (1.0, 0.25));
    }
}
