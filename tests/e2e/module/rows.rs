//! Random rows of callbacks on one VM after another, with a host that fails and lies: no trap, and nothing refused goes on.
