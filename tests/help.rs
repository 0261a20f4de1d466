//! Help, where somebody in a hurry looks for it.
#![cfg(test)]

use std::process::Command;

use mailroot::cli::COMMANDS;

#[test]
fn each_command_explains_itself_when_asked() {
    for command in COMMANDS {
        let output = Command::new(env!("CARGO_BIN_EXE_mailroot"))
            .args([command.name, "--help"])
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{}", command.name);
        assert!(said.contains(command.help), "{}: {said}", command.name);
    }
}
