//! End-to-end tests: the real binary as its users start it, over a real nats-server, watched from outside.

mod apart;
mod audit;
mod backup;
mod beside;
mod clocks;
mod configuration;
mod crashes;
mod doctor;
mod first_start;
mod frames;
mod installation;
mod observed;
mod outcomes;
mod pages;
mod process;
mod read_model;
mod revocation;
mod room;
mod schemas;
mod secrecy;
mod signatures;
mod signing;
mod stopping;
mod teams;
mod trying;
mod vault;
