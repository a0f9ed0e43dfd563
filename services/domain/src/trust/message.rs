//! Messages of the revocation barrier: records of FENCE, acknowledgements, barrier requests and
//! replies.

use super::{Speaker, Trust, Void, put};

/// Kind of a signed message. A signature for one kind is void for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// A record of FENCE: a lease or a mark.
    Fence,
    /// Acknowledgement of how far a holder has applied FENCE.
    Acknowledgement,
    /// Request to wait for the barrier.
    Settle,
    /// Reply to that request.
    Settled,
}

impl Message {
    fn mark(self) -> &'static [u8] {
        match self {
            Self::Fence => b"waybill fence record v1",
            Self::Acknowledgement => b"waybill fence acknowledgement v1",
            Self::Settle => b"waybill fence settle v1",
            Self::Settled => b"waybill fence settled v1",
        }
    }
}

impl Trust {
    /// Value of [`super::SIGNATURE`] for the parts of a message; `None` without a signing key.
    #[must_use]
    pub fn sign_message(&self, kind: Message, parts: &[&[u8]]) -> Option<String> {
        let signer = self.signer.as_ref()?;
        Some(signer.sign(&bytes(self.stream, kind, parts)))
    }

    /// Checks whether a message counts. `of_worker` says that a worker may send it about itself.
    ///
    /// # Errors
    /// When signatures are required and this one is missing, not valid, or of a role that may not
    /// say this.
    pub fn check_message(
        &self,
        kind: Message,
        parts: &[&[u8]],
        signature: Option<&str>,
        of_worker: bool,
    ) -> Result<(), Void> {
        if !self.is_in_force() {
            return Ok(());
        }
        let Some(signature) = signature else {
            let is_believed = of_worker && !self.keys.has_worker();
            return is_believed.then_some(()).ok_or(Void::Unsigned);
        };
        let signed = bytes(self.stream, kind, parts);
        match self.keys.check(&signed, signature, None)? {
            (Speaker::Worker, key) if !of_worker => Err(Void::NotAllowed(key)),
            (Speaker::Worker | Speaker::Control, _) => Ok(()),
        }
    }
}

fn bytes(stream: i64, kind: Message, parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(256);
    put(&mut bytes, kind.mark());
    put(&mut bytes, &stream.to_be_bytes());
    for part in parts {
        put(&mut bytes, part);
    }
    bytes
}
