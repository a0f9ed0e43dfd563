//! How one budget of memory is divided among the caches, and the nats-server that `waybill up` starts.
//!
//! What is left is the program itself and what is under way: connections, calls, appends. Open tasks come on top, a few hundred bytes each.

const MIB: u64 = 1 << 20;

/// The least budget, in MiB: with less, caches would be too small to be of use.
pub(crate) const LEAST_MIB: u64 = 64;
/// The largest budget, in MiB.
pub(crate) const MOST_MIB: u64 = 1 << 20;

/// The shares of a budget, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MemoryShares {
    /// What the garbage collector of nats-server aims at.
    pub(crate) nats_server: u64,
    /// Recent creations, which a worker then need not read back from the log.
    pub(crate) payloads: u64,
    /// Blocks of the read model. The rows that wait to be written to a file may take as much again.
    pub(crate) read_model: u64,
    /// Tags and metadata of the tasks in event streams.
    pub(crate) labels: u64,
}

impl MemoryShares {
    /// Divides a budget, given in MiB.
    pub(crate) fn of(budget_mib: u64) -> Self {
        let budget = budget_mib * MIB;
        Self {
            nats_server: budget * 3 / 8,
            payloads: budget / 8,
            read_model: budget / 8,
            labels: budget / 16,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn something_of_every_budget_is_left_for_the_program() {
        for budget in [LEAST_MIB, 256, 1_000, MOST_MIB] {
            let MemoryShares {
                nats_server,
                payloads,
                read_model,
                labels,
            } = MemoryShares::of(budget);
            let shared = nats_server + payloads + 2 * read_model + labels;
            assert!(shared <= budget * MIB * 7 / 8, "{budget}: {shared}");
        }
        assert_eq!(MemoryShares::of(256).payloads, 32 * MIB);
    }
}
