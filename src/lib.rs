#![doc = include_str!("../README.md")]

pub mod base;
pub mod mail;

pub mod dns;
pub mod ldap;
pub mod policy;
pub mod queue;
pub mod smtp;

pub mod config;

pub mod disk;
pub mod net;

pub mod service;

pub mod cli;
