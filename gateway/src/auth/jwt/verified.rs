//! Tokens that a thread has verified: a signature is verified once, not once a request.
//!
//! What always holds: an entry is found by the whole text of its token, of which the hash only tells the place; it is
//! worth no more than the keys that it was verified with, whose generation it names. Threads share nothing. 4,096 tokens
//! a thread are kept at most, of 4 KiB at most each and what they say.

use std::{cell::RefCell, collections::hash_map::RandomState, hash::BuildHasher, sync::Arc};

use super::claims::Claims;

/// Places where a token can be; with [`WAYS`] entries in each.
const SETS: usize = 512;

/// Entries in one place. Four would do for the memory; but where five tokens in use meet in one place each is verified
/// each time, which happens to one in fifty when there are as many tokens as places, and to one in a million with eight.
const WAYS: usize = 8;

/// Longer tokens are verified each time: what the tokens of a thread take has a bound.
const MOST_TOKEN_BYTES: usize = 4 << 10;

/// Bytes at a token's end by which its place is found: the end of the signature, which nobody can choose for a token
/// that holds.
const HASHED_BYTES: usize = 32;

/// A token that holds.
#[derive(Clone, Debug)]
pub(super) struct Verified {
    /// What it says.
    pub claims: Arc<Claims>,
    /// Which of the authorizer's issuers it is of.
    pub issuer: usize,
    /// The generation of the keys that it was verified with.
    pub generation: u64,
}

struct Entry {
    /// The authorizer that took it.
    authorizer: u64,
    token: Box<[u8]>,
    verified: Verified,
}

#[derive(Default)]
struct Set {
    entries: [Option<Entry>; WAYS],
    /// The one that is replaced next.
    oldest: usize,
}

struct Cache {
    hasher: RandomState,
    /// Empty until the first token is kept.
    sets: Vec<Set>,
}

thread_local! {
    static CACHE: RefCell<Cache> = RefCell::new(Cache { hasher: RandomState::new(), sets: Vec::new() });
}

/// What this thread knows of a token for this authorizer.
pub(super) fn find(authorizer: u64, token: &[u8]) -> Option<Verified> {
    CACHE.with_borrow_mut(|cache| {
        let is_it = |entry: &&Entry| entry.authorizer == authorizer && *entry.token == *token;
        cache.set(authorizer, token)?.entries.iter().flatten().find(is_it).map(|entry| entry.verified.clone())
    })
}

/// Keeps a token that was verified just now.
pub(super) fn keep(authorizer: u64, token: &[u8], verified: Verified) {
    if token.len() > MOST_TOKEN_BYTES {
        return;
    }
    CACHE.with_borrow_mut(|cache| {
        if cache.sets.is_empty() {
            cache.sets.resize_with(SETS, Set::default);
        }
        let Some(set) = cache.set(authorizer, token) else { return };
        let is_it = |entry: &Option<Entry>| {
            entry.as_ref().is_some_and(|entry| entry.authorizer == authorizer && *entry.token == *token)
        };
        let place = set.entries.iter().position(is_it).unwrap_or_else(|| {
            set.oldest = (set.oldest + 1) % WAYS;
            set.oldest
        });
        set.entries[place] = Some(Entry { authorizer, token: token.into(), verified });
    });
}

impl Cache {
    fn set(&mut self, authorizer: u64, token: &[u8]) -> Option<&mut Set> {
        let tail = &token[token.len().saturating_sub(HASHED_BYTES)..];
        let hash = self.hasher.hash_one((authorizer, tail));
        let place = usize::try_from(hash % SETS as u64).ok()?;
        self.sets.get_mut(place)
    }
}
