//! Messages of the revocation barrier: records of FENCE, acknowledgements, the question to settle and its answer.

use super::{Speaker, Trust, Void, put};

/// What a signed message is. A signature for one kind says nothing in another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// A record of FENCE, which is a lease or a mark.
    Fence,
    /// How far a holder has applied FENCE.
    Acknowledgement,
    /// The question to settle.
    Settle,
    /// Its answer.
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
    /// The value of [`super::SIGNATURE`] over the parts of a message; `None` without a key.
    #[must_use]
    pub fn sign_message(&self, kind: Message, parts: &[&[u8]]) -> Option<String> {
        let signer = self.signer.as_ref()?;
        Some(signer.sign(&bytes(self.stream, kind, parts)))
    }

    /// Whether a message counts. `of_worker`: it says something that workers may say of themselves.
    ///
    /// # Errors
    /// When signatures are required and this one does not hold, or is of somebody who may not say this.
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
