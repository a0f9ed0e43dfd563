//! The owners of partitions in this process, as its gateway asks them.

use futures::future::BoxFuture;
use waybill_domain::command::{OwnerReply, OwnerRequest};
use waybill_domain::partition::Partition;
use waybill_edge::owners;
use waybill_worker::command;

/// Between two crates that do not know each other.
#[derive(Debug)]
pub(crate) struct NearOwners(pub(crate) command::NearOwners);

impl owners::NearOwners for NearOwners {
    fn ask(
        &self,
        partition: Partition,
        request: &OwnerRequest,
    ) -> Option<BoxFuture<'static, OwnerReply>> {
        self.0.ask(partition, request)
    }
}
