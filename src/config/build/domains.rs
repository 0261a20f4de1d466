//! Turns the sections about local domains into what becomes of addresses and where their mail lies.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::Path;
use std::path::PathBuf;

use crate::config::fault::Complaint;
use crate::config::fault::Fault;
use crate::config::fault::Place;
use crate::config::model::Local;
use crate::config::settings::Block;
use crate::config::settings::Settings;
use crate::mail::Domain;
use crate::policy::mailboxes::Mailboxes;
use crate::policy::rewrite::Rewrite;

/// Reads what is said about local domains, and notes what is wrong with it.
pub struct DomainReader<'a> {
    /// Gets what is wrong.
    pub faults: &'a mut Vec<Fault>,
    /// The name of this host.
    pub hostname: &'a Domain,
    /// Where relative paths begin.
    pub home: &'a Path,
}

impl DomainReader<'_> {
    /// What addresses become. Recipients without a domain go to the default domain, until routes say otherwise. `None`
    /// when schema and model disagree.
    pub fn rewrite(&mut self, settings: &Settings) -> Option<Rewrite> {
        let default_domain = settings.one("")?.get("default_domain");
        let default_domain = default_domain.unwrap_or_else(|| self.hostname.clone());
        let mut rewrite = Rewrite {
            bare: default_domain.clone(),
            default_domain,
            hostname: self.hostname.clone(),
            local: BTreeSet::new(),
            stands_for: BTreeMap::new(),
            masquerade: settings.one("sender")?.get("masquerade"),
            mailboxes: Mailboxes::default(),
        };
        let local = settings.one("local")?;
        self.domains(&local, &mut rewrite)?;
        if let Some(names) = local.get::<Vec<String>>("mailboxes") {
            rewrite.mailboxes.name(&[Domain::localhost()], &names);
        }
        Some(rewrite)
    }

    /// Adds the domains of a block, what stands for them, and their mailboxes.
    fn domains(&mut self, block: &Block, rewrite: &mut Rewrite) -> Option<()> {
        let domains: Vec<Domain> = block.get("domains").unwrap_or_default();
        let others: Vec<Domain> = block.get("alias_domains")?;
        let known = |rewrite: &Rewrite, domain: &Domain| {
            rewrite.local.contains(domain) || rewrite.stands_for.contains_key(domain)
        };
        for domain in &domains {
            if known(rewrite, domain) {
                let complaint = Complaint::DomainTwice(domain.clone());
                self.blame(block.place_of("domains"), complaint);
            }
            rewrite.local.insert(domain.clone());
        }
        for other in others {
            let Some(first) = domains.first() else {
                self.blame(block.place_of("alias_domains"), Complaint::AliasOfNothing);
                break;
            };
            if known(rewrite, &other) {
                let complaint = Complaint::DomainTwice(other.clone());
                self.blame(block.place_of("alias_domains"), complaint);
            }
            rewrite.stands_for.insert(other, first.clone());
        }
        if let Some(names) = block.get::<Vec<String>>("mailboxes") {
            rewrite.mailboxes.name(&domains, &names);
        }
        Some(())
    }

    /// Where the mail of domains lies that have no folder of their own.
    pub fn local(&mut self, settings: &Settings) -> Option<Local> {
        let block = settings.one("local")?;
        let local = self.folder(&block, block.get("drop")?, String::from("drop"))?;
        self.check_folder(&block, &local, &[]);
        Some(local)
    }

    /// The blocks of `[[domain]]`: adds to the rules what they say, and answers their folders, and the number of its
    /// folder for each local domain.
    pub fn blocks(
        &mut self,
        settings: &Settings,
        local: &Local,
        rewrite: &mut Rewrite,
    ) -> Option<(Vec<Local>, BTreeMap<Domain, usize>)> {
        let numbered = rewrite.local.iter().map(|domain| (domain.clone(), 0));
        let mut numbers: BTreeMap<Domain, usize> = numbered.collect();
        // What is this host's own leaves it by no rule for all others.
        numbers.insert(Domain::localhost(), 0);
        let mut folders = vec![local.clone()];
        for block in settings.all("domain") {
            let domains: Vec<Domain> = block.get("domains").unwrap_or_default();
            if domains.is_empty() && !block.spoiled {
                self.blame(block.place.clone(), Complaint::NoDomain);
            }
            self.domains(block, rewrite)?;
            let number = match (block.get::<PathBuf>("drop"), domains.first()) {
                (Some(drop), Some(first)) => {
                    let folder = self.folder(block, drop, format!("drop:{first}"))?;
                    self.check_folder(block, &folder, &folders);
                    folders.push(folder);
                    folders.len().saturating_sub(1)
                }
                _ => {
                    for name in ["format", "drop_bytes", "drop_files"] {
                        if let Some(entry) = block.entry(name) {
                            let complaint = Complaint::NoFolder(entry.row.key);
                            self.blame(entry.place.clone(), complaint);
                        }
                    }
                    0
                }
            };
            numbers.extend(domains.into_iter().map(|domain| (domain, number)));
        }
        folders.remove(0);
        Some((folders, numbers))
    }

    fn folder(&self, block: &Block, drop: PathBuf, name: String) -> Option<Local> {
        Some(Local {
            name,
            drop: self.home.join(drop),
            maildir: block.get::<&str>("format")? == "maildir",
            drop_bytes: block.or_off("drop_bytes")?,
            drop_files: block.or_off("drop_files")?,
        })
    }

    fn check_folder(&mut self, block: &Block, folder: &Local, others: &[Local]) {
        let taken = ["", "pickup", "queue", "badmail", "sorttemp"];
        let clash = |other: &Local| {
            other.drop == folder.drop
                || (other.maildir && folder.drop.starts_with(&other.drop))
                || (folder.maildir && other.drop.starts_with(&folder.drop))
        };
        if taken.iter().any(|name| self.home.join(name) == folder.drop) {
            self.blame(block.place_of("drop"), Complaint::DropTaken);
        } else if others.iter().any(clash) {
            self.blame(block.place_of("drop"), Complaint::DropTwice);
        }
    }

    fn blame(&mut self, place: Place, complaint: Complaint) {
        self.faults.push(Fault { place, complaint });
    }
}
