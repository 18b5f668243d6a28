//! The README's commands are commands that exist.

use std::process::Command;

const README: &str = include_str!("../../README.md");
const MAKEFILE: &str = include_str!("../../Makefile");

/// The lines of all `console` blocks, without comments.
fn commands() -> Vec<&'static str> {
    let mut in_console = false;
    let mut found = Vec::new();
    for line in README.lines() {
        match line.trim() {
            "```console" => in_console = true,
            "```" => in_console = false,
            line if in_console && !line.is_empty() => {
                found.push(line.split(" #").next().unwrap_or_default().trim());
            }
            _ => {}
        }
    }
    found
}

#[test]
fn every_command_of_the_readme_is_one() {
    let commands = commands();
    assert!(commands.len() >= 10, "{commands:?}");
    for command in commands {
        let words: Vec<&str> = command.split(" > ").next().unwrap().split_whitespace().collect();
        match words.as_slice() {
            ["make", target, ..] => {
                assert!(MAKEFILE.contains(&format!("\n{target}: ##")), "no target for `{command}`");
            }
            ["accord", arguments @ ..] => {
                // With --help nothing is done, but what comes before it has to be there.
                let names = arguments.iter().take_while(|word| word.chars().all(|c| c.is_ascii_lowercase()));
                let mut depth = 0;
                for name in names {
                    let known = Command::new(env!("CARGO_BIN_EXE_accord"))
                        .args(&arguments[..depth])
                        .arg("--help")
                        .output()
                        .unwrap();
                    let help = String::from_utf8(known.stdout).unwrap();
                    if !help.contains("Commands:") {
                        break;
                    }
                    assert!(
                        help.contains(&format!("\n  {name} ")),
                        "`accord {name}` of `{command}` is not in:\n{help}"
                    );
                    depth += 1;
                }
                let flags = arguments.iter().filter(|word| word.starts_with("--"));
                let help = Command::new(env!("CARGO_BIN_EXE_accord"))
                    .args(&arguments[..depth])
                    .arg("--help")
                    .output()
                    .unwrap();
                let help = String::from_utf8(help.stdout).unwrap();
                for flag in flags {
                    assert!(help.contains(*flag), "`{flag}` of `{command}` is not in:\n{help}");
                }
            }
            _ => panic!("an unknown kind of command: {command}"),
        }
    }
}
