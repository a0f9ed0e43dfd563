//! Envelope encryption of secrets: keys, seal, open, shred.
