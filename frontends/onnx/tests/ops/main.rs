//! What operators compute, on small models made here. Expected values come from reasoning, stated beside them.

mod attention;
mod convolution;
mod images;
mod loops;
mod products;
mod recurrent;
#[allow(dead_code, reason = "shared with other tests")]
mod support;
