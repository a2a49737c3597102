//! Machines as data: what a chip has and what it costs.
//!
//! A machine is a TOML file; those that come with `nc` stand in `machines/`, and a user can write one. Every figure
//! carries its source, which goes wherever the figure is shown.

use serde::{Deserialize, Serialize};

/// A figure and where it comes from.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figure<T> {
    /// The value, in the unit that the field names.
    pub value: T,
    /// `survey`, `seen`, `derived`, `ours` or what the writer of the file says.
    pub source: String,
}

/// A machine.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// Its name.
    pub name: String,
    /// Columns and rows of chips.
    pub chips: [u32; 2],
    /// A core.
    pub core: Core,
    /// Performance levels, the slowest first.
    pub level: Vec<Level>,
    /// The network of a chip.
    pub noc: Noc,
    /// The router of a chip.
    pub router: Router,
    /// Links between chips.
    pub links: Links,
    /// The link to the host.
    pub host: Host,
    /// What does not depend on the load.
    pub power: Power,
}

/// The cores of a chip.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Core {
    /// Cores on a chip.
    pub count: Figure<u32>,
    /// Those that programs may use.
    pub usable: Figure<u32>,
    /// Memory of a core.
    pub sram_bytes: Figure<u64>,
    /// Of which code.
    pub code_bytes: Figure<u64>,
    /// Of which data, the stack included.
    pub data_bytes: Figure<u64>,
    /// Of which stack and heap.
    pub stack_bytes: Figure<u64>,
}

/// A performance level.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Level {
    /// Its name.
    pub name: String,
    /// Supply.
    pub volts: f64,
    /// Clock of a core.
    pub clock_hz: Figure<f64>,
    /// Power of a core that sleeps.
    pub sleep_watts_per_core: Figure<f64>,
    /// Energy of a cycle above that.
    pub joules_per_cycle: Figure<f64>,
}

/// The network on a chip: a mesh with XY routing.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Noc {
    /// Nodes in a row.
    pub columns: Figure<u32>,
    /// Rows of nodes.
    pub rows: Figure<u32>,
    /// Cores at a node.
    pub cores_per_node: Figure<u32>,
    /// Latency.
    pub cycles_per_hop: Figure<u32>,
    /// Clock of the network.
    pub clock_hz: Figure<f64>,
}

/// The router of a chip.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Router {
    /// Entries of its table.
    pub entries: Figure<u32>,
    /// Bits of a key.
    pub key_bits: Figure<u32>,
    /// Clock.
    pub clock_hz: Figure<f64>,
    /// Bits of a packet without its payload.
    pub packet_bits: Figure<u32>,
    /// Bits of the largest payload.
    pub payload_bits: Figure<u32>,
}

/// Links between chips.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Links {
    /// How many a chip has.
    pub per_chip: Figure<u32>,
    /// Bandwidth of one.
    pub bits_per_second: Figure<f64>,
    /// Time from chip to chip, besides that of the bits.
    pub latency_seconds: Figure<f64>,
}

/// The link to the host.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// Bandwidth.
    pub bits_per_second: Figure<f64>,
}

/// Power that does not depend on the load.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Power {
    /// A chip whose cores are off.
    pub idle_watts: Figure<f64>,
}

/// Why a machine file was not taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MachineError(pub String);

impl std::fmt::Display for MachineError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for MachineError {}

/// The machines that come with `nc`: name and file.
pub const MACHINES: &[(&str, &str)] = &[
    ("spinnaker2", include_str!("../machines/spinnaker2.toml")),
    ("spinnaker2-board48", include_str!("../machines/spinnaker2-board48.toml")),
    ("small", include_str!("../machines/small.toml")),
];

impl Machine {
    /// Reads a machine file.
    ///
    /// # Errors
    /// A file that is not TOML, a field that is missing or unknown, figures that contradict each other.
    pub fn parse(text: &str) -> Result<Machine, MachineError> {
        let m: Machine = toml::from_str(text).map_err(|e| MachineError(e.to_string()))?;
        m.check()?;
        Ok(m)
    }

    /// A machine that comes with `nc`.
    ///
    /// # Errors
    /// If there is none of this name; the message lists those that there are.
    pub fn named(name: &str) -> Result<Machine, MachineError> {
        match MACHINES.iter().find(|(n, _)| *n == name) {
            Some((_, text)) => Machine::parse(text),
            None => {
                let names: Vec<&str> = MACHINES.iter().map(|m| m.0).collect();
                Err(MachineError(format!("there is no machine `{name}`; there are {}", names.join(", "))))
            }
        }
    }

    /// Number of chips.
    pub fn chip_count(&self) -> u64 {
        u64::from(self.chips[0]) * u64::from(self.chips[1])
    }

    /// Cores that programs may use, on all chips.
    pub fn usable_cores(&self) -> u64 {
        self.chip_count() * u64::from(self.core.usable.value)
    }

    pub(crate) fn check(&self) -> Result<(), MachineError> {
        let c = &self.core;
        let places = u64::from(self.noc.columns.value)
            * u64::from(self.noc.rows.value)
            * u64::from(self.noc.cores_per_node.value);
        let memory = c.code_bytes.value.checked_add(c.data_bytes.value);
        let positive = |x: f64| x.is_finite() && x > 0.0;
        let rules = [
            (self.chips.iter().all(|n| (1..=1024).contains(n)), "`chips` are 1 to 1024 columns and rows"),
            (c.usable.value >= 1 && c.usable.value <= c.count.value, "`core.usable` is 1 to `core.count`"),
            (u64::from(c.count.value) <= places, "the mesh of `noc` has no place for `core.count` cores"),
            (c.sram_bytes.value <= 1 << 30, "`core.sram_bytes` is at most 1 GiB"),
            (
                memory.is_some_and(|n| n <= c.sram_bytes.value),
                "`core.code_bytes` and `core.data_bytes` are more than `core.sram_bytes`",
            ),
            (c.stack_bytes.value < c.data_bytes.value, "`core.stack_bytes` leaves no data"),
            (!self.level.is_empty(), "there is no performance `level`"),
            (self.level.iter().all(|l| positive(l.clock_hz.value)), "a `level` has a `clock_hz` above 0"),
            (
                self.level.windows(2).all(|l| l[0].clock_hz.value < l[1].clock_hz.value),
                "the slowest `level` comes first",
            ),
            (self.router.entries.value >= 1, "`router.entries` is at least 1"),
            ((8..=32).contains(&self.router.key_bits.value), "`router.key_bits` is 8 to 32"),
            (positive(self.noc.clock_hz.value) && positive(self.router.clock_hz.value), "clocks are above 0"),
            (
                positive(self.links.bits_per_second.value) && positive(self.host.bits_per_second.value),
                "bandwidths are above 0",
            ),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(MachineError(format!("machine `{}`: {rule}", self.name))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_that_come_along_are_read() {
        for (name, _) in MACHINES {
            let m = Machine::named(name).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(m.name, *name);
        }
        let chip = Machine::named("spinnaker2").unwrap();
        assert_eq!((chip.chip_count(), chip.usable_cores()), (1, 148));
        assert_eq!(Machine::named("spinnaker2-board48").unwrap().usable_cores(), 7104);
        assert_eq!(chip.level[1].joules_per_cycle.source, "derived");
    }

    #[test]
    fn what_does_not_fit_together_is_refused_by_name() {
        let text = MACHINES[0].1;
        for (from, to, says) in [
            ("usable = { value = 148", "usable = { value = 200", "`core.usable`"),
            ("data_bytes = { value = 98304", "data_bytes = { value = 98305", "`core.sram_bytes`"),
            ("columns = { value = 8", "columns = { value = 7", "no place"),
            ("stack_bytes = { value = 4096", "stack_bytes = { value = 98304", "leaves no data"),
            ("chips = [1, 1]", "chips = [0, 1]", "`chips`"),
            ("clock_hz = { value = 150e6", "clock_hz = { value = 350e6", "slowest"),
            ("key_bits = { value = 32", "key_bits = { value = 40", "`router.key_bits`"),
            ("[host]\nbits_per_second", "[host]\nbits", "unknown field"),
            ("source = \"derived\" }\n\n[noc]", "}\n\n[noc]", "missing field `source`"),
        ] {
            let changed = text.replacen(from, to, 1);
            assert_ne!(changed, text, "{from}");
            let e = Machine::parse(&changed).expect_err(from);
            assert!(e.to_string().contains(says), "{e}");
        }
        assert!(Machine::named("spinnaker9").unwrap_err().to_string().contains("there are spinnaker2, "));
    }
}
