//! The same loops written by hand.

use crate::least;
use crate::programs::{active, target};
use std::arch::x86_64::{
    _CMP_GE_OQ, _mm256_add_ps, _mm256_and_si256, _mm256_andnot_ps, _mm256_blendv_epi8, _mm256_blendv_ps,
    _mm256_castps_si256, _mm256_castsi256_ps, _mm256_cmp_ps, _mm256_cmpgt_epi32, _mm256_fmadd_ps, _mm256_loadu_ps,
    _mm256_loadu_si256, _mm256_movemask_ps, _mm256_mul_ps, _mm256_set1_epi32, _mm256_set1_ps, _mm256_setzero_ps,
    _mm256_setzero_si256, _mm256_storeu_ps, _mm256_storeu_si256, _mm256_sub_epi32,
};

fn usable() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
}

struct Population {
    v: Vec<f32>,
    ge: Vec<f32>,
    gi: Vec<f32>,
    refr: Vec<i32>,
    list: Vec<u32>,
}

/// One tick; the number of spikes.
///
/// # Safety
/// The processor has AVX2 and FMA; `out` is as long as the population.
#[target_feature(enable = "avx2,fma")]
unsafe fn lif_tick(p: &mut Population, out: &mut [u8]) -> usize {
    let n = p.v.len();
    let mut count = 0;
    let s = |x: f32| _mm256_set1_ps(x);
    let (dv, ce, ci, de, di, bias, theta) = (s(0.995), s(0.0049), s(-0.0049), s(0.98), s(0.99), s(0.07), s(10.0));
    let (zero, one, hold) = (_mm256_setzero_si256(), _mm256_set1_epi32(1), _mm256_set1_epi32(20));
    for i in (0..n).step_by(8) {
        // SAFETY: n is a multiple of 8.
        unsafe {
            let x = _mm256_loadu_ps(p.v.as_ptr().add(i));
            let e = _mm256_loadu_ps(p.ge.as_ptr().add(i));
            let h = _mm256_loadu_ps(p.gi.as_ptr().add(i));
            let r = _mm256_loadu_si256(p.refr.as_ptr().add(i).cast());
            let y = _mm256_fmadd_ps(x, dv, bias);
            let y = _mm256_fmadd_ps(e, ce, y);
            let y = _mm256_fmadd_ps(h, ci, y);
            let idle = _mm256_cmpgt_epi32(r, zero);
            let y = _mm256_blendv_ps(y, x, _mm256_castsi256_ps(idle));
            let over = _mm256_cmp_ps::<_CMP_GE_OQ>(y, theta);
            let y = _mm256_andnot_ps(over, y);
            let r = _mm256_and_si256(idle, _mm256_sub_epi32(r, one));
            let r = _mm256_blendv_epi8(r, hold, _mm256_castps_si256(over));
            _mm256_storeu_ps(p.v.as_mut_ptr().add(i), y);
            _mm256_storeu_ps(p.ge.as_mut_ptr().add(i), _mm256_mul_ps(e, de));
            _mm256_storeu_ps(p.gi.as_mut_ptr().add(i), _mm256_mul_ps(h, di));
            _mm256_storeu_si256(p.refr.as_mut_ptr().add(i).cast(), r);
            let mut m = _mm256_movemask_ps(over) as u32;
            let spread = (u64::from(m)).wrapping_mul(0x0002_0408_1020_4081) & 0x0101_0101_0101_0101;
            out.as_mut_ptr().add(i).cast::<u64>().write_unaligned(spread);
            while m != 0 {
                *p.list.get_unchecked_mut(count) = i as u32 + m.trailing_zeros();
                count += 1;
                m &= m - 1;
            }
        }
    }
    count
}

/// Seconds per tick of the population update.
pub fn lif(n: usize, ticks: usize) -> Option<f64> {
    if !usable() {
        return None;
    }
    let mut p = Population { v: vec![0.0; n], ge: vec![0.0; n], gi: vec![0.0; n], refr: vec![0; n], list: vec![0; n] };
    let mut out = vec![0u8; n * ticks];
    let t = least(|| {
        for frame in out.chunks_exact_mut(n) {
            // SAFETY: the features were detected.
            std::hint::black_box(unsafe { lif_tick(&mut p, frame) });
        }
    });
    Some(t / ticks as f64)
}

#[target_feature(enable = "avx2,fma")]
fn add_rows(w: &[f32], rows: [usize; 4], y: &mut [f32]) {
    let c = y.len();
    let r = rows.map(|r| &w[r * c..][..c]);
    for o in (0..c).step_by(8) {
        // SAFETY: the rows and y have c elements, a multiple of 8.
        unsafe {
            let mut acc = _mm256_loadu_ps(y.as_ptr().add(o));
            for r in r {
                acc = _mm256_add_ps(acc, _mm256_loadu_ps(r.as_ptr().add(o)));
            }
            _mm256_storeu_ps(y.as_mut_ptr().add(o), acc);
        }
    }
}

#[target_feature(enable = "avx2,fma")]
fn add_row(w: &[f32], row: usize, y: &mut [f32]) {
    let c = y.len();
    let r = &w[row * c..][..c];
    for (y, r) in y.iter_mut().zip(r) {
        *y += r;
    }
}

/// Seconds per tick of the event-driven product.
pub fn event_rows(rows: usize, cols: usize, ticks: usize) -> Option<f64> {
    if !usable() {
        return None;
    }
    let w: Vec<f32> = (0..rows * cols).map(|k| (k % 97) as f32 * 1e-3).collect();
    let mut y = vec![0f32; cols];
    let list = active(rows as u64);
    let t = least(|| {
        for _ in 0..ticks {
            let groups = list.chunks_exact(4);
            // SAFETY: the features were detected.
            groups.remainder().iter().for_each(|r| unsafe { add_row(&w, *r as usize, &mut y) });
            for g in groups {
                // SAFETY: the features were detected.
                unsafe { add_rows(&w, std::array::from_fn(|k| g[k] as usize), &mut y) }
            }
        }
    });
    std::hint::black_box(&y);
    Some(t / ticks as f64)
}

#[target_feature(enable = "avx2,fma")]
fn product(w: &[f32], x: &[f32], y: &mut [f32]) {
    let c = y.len();
    for o in (0..c).step_by(64) {
        // SAFETY: w has a row of c elements for each x; c is a multiple of 64.
        unsafe {
            let mut acc = [_mm256_setzero_ps(); 8];
            for (k, x) in x.iter().enumerate() {
                let x = _mm256_set1_ps(*x);
                for (n, a) in acc.iter_mut().enumerate() {
                    *a = _mm256_fmadd_ps(_mm256_loadu_ps(w.as_ptr().add(k * c + o + 8 * n)), x, *a);
                }
            }
            for (n, a) in acc.iter().enumerate() {
                _mm256_storeu_ps(y.as_mut_ptr().add(o + 8 * n), *a);
            }
        }
    }
}

/// Seconds per tick of the dense product.
pub fn matvec(rows: usize, cols: usize, ticks: usize) -> Option<f64> {
    if !usable() {
        return None;
    }
    let w: Vec<f32> = (0..rows * cols).map(|k| (k % 97) as f32 * 1e-3).collect();
    let (x, mut y) = (vec![0.5f32; rows], vec![0f32; cols]);
    let t = least(|| {
        for _ in 0..ticks {
            // SAFETY: the features were detected.
            unsafe { product(&w, std::hint::black_box(&x), &mut y) }
        }
    });
    std::hint::black_box(&y);
    Some(t / ticks as f64)
}

/// Seconds per tick of the sparse product.
pub fn scatter(n: usize, fan: usize, ticks: usize) -> Option<f64> {
    let post: Vec<u32> = (0..n * fan).map(|k| target((k / fan) as u64, (k % fan) as u64, n as u64) as u32).collect();
    let w: Vec<f32> = (0..n * fan).map(|k| (k % 97) as f32 * 1e-3).collect();
    let mut g = vec![0f32; n];
    let list = active(n as u64);
    let t = least(|| {
        for _ in 0..ticks {
            for i in &list {
                let row = *i as usize * fan..(*i as usize + 1) * fan;
                for (t, w) in post[row.clone()].iter().zip(&w[row]) {
                    // SAFETY: targets are below n.
                    unsafe { *g.get_unchecked_mut(*t as usize) += w };
                }
            }
        }
    });
    std::hint::black_box(&g);
    Some(t / ticks as f64)
}
