//! The table of a machine.

/// A level of memory.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Cache {
    /// What fits into it, in bytes.
    pub bytes: f64,
    /// Nanoseconds to read a byte of a long row from it.
    pub ns_per_byte: f64,
}

macro_rules! costs {
    ($($(#[doc = $doc:literal])+ $field:ident: $default:literal;)*) => {
        /// Measured times of one machine, on one core. All in nanoseconds; a register of chains has eight lanes
        /// of 32 bits.
        #[derive(Clone, PartialEq, Debug)]
        pub struct Costs {
            /// The machine, for reports.
            pub machine: String,
            $($(#[doc = $doc])+ pub $field: f64,)*
            /// Second and third level of cache, and memory.
            pub levels: [Cache; 3],
        }

        impl Costs {
            /// The built-in table: what `nc bench --calibrate` measured on the machine that it names, rounded.
            pub fn cpu() -> Costs {
                Costs { machine: BUILT_IN.to_owned(), $($field: $default,)* levels: LEVELS }
            }

            /// The names of the times with their values, without the levels of memory.
            pub fn times(&self) -> Vec<(&'static str, f64)> {
                vec![$((stringify!($field), self.$field)),*]
            }

            /// The time of this name, to be set.
            pub fn time_mut(&mut self, name: &str) -> Option<&mut f64> {
                match name {
                    $(stringify!($field) => Some(&mut self.$field),)*
                    _ => None,
                }
            }
        }
    };
}

const BUILT_IN: &str = "AMD EPYC (family 25, model 17), one core of a shared virtual machine";

/// Bytes that stay in the first level of cache.
const FIRST_LEVEL: f64 = 24e3;

const LEVELS: [Cache; 3] = [
    Cache { bytes: 768e3, ns_per_byte: 0.009 },
    Cache { bytes: 24e6, ns_per_byte: 0.0105 },
    Cache { bytes: f64::INFINITY, ns_per_byte: 0.045 },
];

costs! {
    /// To begin a kernel.
    kernel: 5.5;
    /// To begin and end the chains of a tile.
    tile: 8.5;
    /// A link of eight chains side by side, its operands in the cache.
    link: 0.16;
    /// From a link of a chain to the next, where nothing else is to be done.
    latency: 1.1;
    /// To find where the operands of a link lie that a list names.
    index: 1.2;
    /// To look at an element for an event.
    scan: 0.075;
    /// To append an event to a list.
    push: 0.75;
    /// To sort an event into its row.
    walk: 0.7;
    /// To look at an element of one of many rows, and to list it if it is an event.
    list: 0.09;
    /// To begin the work of an event.
    event: 1.1;
    /// To add to four outputs in memory.
    add: 0.45;
    /// To add to four outputs in memory, for one of a group of events.
    add_row: 0.175;
    /// To find one of the positions that an event of a convolution reaches.
    place: 0.85;
    /// To bring an element from one row to a place among those of other rows.
    turn: 0.6;
    /// To bring an element of one layout to its place in another.
    transpose: 0.4;
    /// To begin a sum of a convolution's events, and to bring it to its place.
    settle: 0.8;
    /// To store an output of a convolution in its channel.
    channel: 0.6;
    /// To copy an element.
    copy: 0.15;
    /// To copy an element into a frame with padding.
    frame: 0.6;
    /// To look at an element for being finite.
    look: 0.085;
    /// To begin and end a sparse chain.
    chain: 0.5;
    /// A link of a sparse chain.
    gather: 0.21;
    /// A step of eight chains that pick their inputs out of a register; 0 where no instruction does.
    window: 0.53;
    /// To add one weight of an event to the output that it is for.
    scatter: 0.42;
}

impl Default for Costs {
    fn default() -> Costs {
        Costs::cpu()
    }
}

impl Costs {
    /// The time to read `bytes` once, of data that takes `footprint` bytes in all; none where it stays in the first level of
    /// cache.
    pub fn stream(&self, bytes: f64, footprint: f64) -> f64 {
        if footprint <= FIRST_LEVEL {
            return 0.0;
        }
        let level = self.levels.iter().find(|l| footprint <= l.bytes).unwrap_or(&self.levels[2]);
        bytes * level.ns_per_byte
    }

    /// True if every time is a number that is not negative, and every level takes some time.
    pub fn is_sound(&self) -> bool {
        let good = |x: f64| x.is_finite() && x >= 0.0;
        self.times().iter().all(|t| good(t.1)) && self.levels.iter().all(|l| good(l.ns_per_byte) && l.bytes > 0.0)
    }
}
