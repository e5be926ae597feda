//! A doubly linked list threaded through a slab by small tokens: constant-time recency order in safe code.

/// The token that means "no node".
const NIL: u32 = u32::MAX;

/// The largest number of nodes a slab can hold (the last token is the list's end mark).
pub(crate) const MAX_NODES: usize = NIL as usize;

/// One place of the slab: occupied and linked by recency, or free and linked (by `next`) to other free places.
#[derive(Debug)]
struct Node<T> {
    /// Towards the front; meaningless in a free node.
    prev: u32,
    /// Towards the back; in a free node the next free one.
    next: u32,
    /// What the node holds; nothing in a free node.
    item: Option<T>,
}

/// A list of items, most recently touched first, addressed by tokens that stay valid until removal.
#[derive(Debug)]
pub(crate) struct LinkedSlab<T> {
    nodes: Vec<Node<T>>,
    /// The most recently touched node.
    front: u32,
    /// The least recently touched node, the next to be evicted.
    back: u32,
    /// The first of the free nodes, reused before the slab grows.
    free: u32,
    /// Occupied nodes.
    len: usize,
}

impl<T> Default for LinkedSlab<T> {
    fn default() -> Self {
        Self {
            nodes: Vec::new(),
            front: NIL,
            back: NIL,
            free: NIL,
            len: 0,
        }
    }
}

impl<T> LinkedSlab<T> {
    /// Counts the items.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Gives the least recently touched token.
    pub(crate) fn back(&self) -> Option<u32> {
        (self.back != NIL).then_some(self.back)
    }

    /// Borrows the item of an occupied token.
    pub(crate) fn get(&self, token: u32) -> Option<&T> {
        self.nodes.get(token as usize)?.item.as_ref()
    }

    /// Borrows the item of an occupied token for change.
    pub(crate) fn get_mut(&mut self, token: u32) -> Option<&mut T> {
        self.nodes.get_mut(token as usize)?.item.as_mut()
    }

    /// Puts an item in front; `limit` is the number of nodes that will ever be needed, so that the slab does not
    /// double beyond it. Gives nothing (and drops the item) only when all [`MAX_NODES`] tokens are taken.
    pub(crate) fn push_front(&mut self, item: T, limit: usize) -> Option<u32> {
        let token = self.vacant(limit)?;
        self.nodes[token as usize].item = Some(item);
        self.len += 1;
        self.link_front(token);
        Some(token)
    }

    /// Moves an occupied node to the front.
    pub(crate) fn touch(&mut self, token: u32) {
        if self.front != token && self.get(token).is_some() {
            self.unlink(token);
            self.link_front(token);
        }
    }

    /// Takes the item of a token out and frees its node.
    pub(crate) fn remove(&mut self, token: u32) -> Option<T> {
        let item = self.nodes.get_mut(token as usize)?.item.take()?;
        self.unlink(token);
        self.nodes[token as usize].next = self.free;
        self.free = token;
        self.len -= 1;
        Some(item)
    }

    /// Walks the occupied tokens from the most to the least recently touched.
    pub(crate) fn iter(&self) -> Iter<'_, T> {
        Iter {
            slab: self,
            token: self.front,
        }
    }

    /// Finds a free node, growing the slab when none is left.
    fn vacant(&mut self, limit: usize) -> Option<u32> {
        if self.free != NIL {
            let token = self.free;
            self.free = self.nodes[token as usize].next;
            return Some(token);
        }
        let len = self.nodes.len();
        if len >= MAX_NODES {
            return None;
        }
        if len == self.nodes.capacity() {
            let target = (len * 2).clamp(8, limit.max(len + 1).max(8));
            self.nodes.reserve_exact(target - len);
        }
        self.nodes.push(Node {
            prev: NIL,
            next: NIL,
            item: None,
        });
        u32::try_from(len).ok()
    }

    /// Links a node that is in no list at the front.
    fn link_front(&mut self, token: u32) {
        let old = self.front;
        let node = &mut self.nodes[token as usize];
        node.prev = NIL;
        node.next = old;
        if old == NIL {
            self.back = token;
        } else {
            self.nodes[old as usize].prev = token;
        }
        self.front = token;
    }

    /// Takes a node out of the recency list.
    fn unlink(&mut self, token: u32) {
        let Node { prev, next, .. } = self.nodes[token as usize];
        if prev == NIL {
            self.front = next;
        } else {
            self.nodes[prev as usize].next = next;
        }
        if next == NIL {
            self.back = prev;
        } else {
            self.nodes[next as usize].prev = prev;
        }
    }

    /// Checks list, back links, free list and count against each other; for tests.
    ///
    /// # Errors
    /// Says what disagrees.
    pub(crate) fn validate(&self) -> Result<(), String> {
        let mut seen = vec![false; self.nodes.len()];
        let (mut token, mut prev, mut linked) = (self.front, NIL, 0);
        while token != NIL {
            let node = self.nodes.get(token as usize).ok_or("a link leaves the slab")?;
            if std::mem::replace(&mut seen[token as usize], true) {
                return Err("the recency list has a loop".into());
            }
            if node.item.is_none() || node.prev != prev {
                return Err(format!("node {token} is empty or its back link is wrong"));
            }
            (prev, token, linked) = (token, node.next, linked + 1);
        }
        if self.back != prev || linked != self.len {
            return Err(format!(
                "{linked} nodes linked, {} counted, back is {}",
                self.len, self.back
            ));
        }
        let (mut token, mut spare) = (self.free, 0);
        while token != NIL {
            let node = self
                .nodes
                .get(token as usize)
                .ok_or("a free link leaves the slab")?;
            if std::mem::replace(&mut seen[token as usize], true) || node.item.is_some() {
                return Err(format!("free node {token} is occupied or in two lists"));
            }
            (token, spare) = (node.next, spare + 1);
        }
        if linked + spare != self.nodes.len() {
            return Err(format!(
                "{} nodes, {linked} linked, {spare} free",
                self.nodes.len()
            ));
        }
        Ok(())
    }
}

/// Tokens and items, most recently touched first.
#[derive(Debug)]
pub(crate) struct Iter<'a, T> {
    slab: &'a LinkedSlab<T>,
    token: u32,
}

impl<'a, T> Iterator for Iter<'a, T> {
    type Item = (u32, &'a T);

    fn next(&mut self) -> Option<Self::Item> {
        let token = self.token;
        let node = self.slab.nodes.get(token as usize)?;
        self.token = node.next;
        node.item.as_ref().map(|item| (token, item))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dump(slab: &LinkedSlab<char>) -> String {
        slab.validate().unwrap();
        slab.iter().map(|(_, item)| *item).collect()
    }

    #[test]
    fn keeps_recency_order() {
        let mut slab = LinkedSlab::default();
        let tokens: Vec<u32> = "abc".chars().map(|c| slab.push_front(c, 3).unwrap()).collect();
        assert_eq!(dump(&slab), "cba");
        slab.touch(tokens[0]);
        assert_eq!(dump(&slab), "acb");
        slab.touch(tokens[0]);
        slab.touch(tokens[2]);
        assert_eq!(dump(&slab), "cab");
        assert_eq!(slab.back(), Some(tokens[1]));
        assert_eq!(slab.remove(tokens[0]), Some('a'));
        assert_eq!(slab.remove(tokens[0]), None);
        assert_eq!(dump(&slab), "cb");
    }

    #[test]
    fn reuses_freed_nodes_and_survives_emptying() {
        let mut slab = LinkedSlab::default();
        let a = slab.push_front('a', 2).unwrap();
        assert_eq!(slab.remove(a), Some('a'));
        assert_eq!((dump(&slab).as_str(), slab.back(), slab.len()), ("", None, 0));
        assert_eq!(slab.push_front('b', 2), Some(a));
        *slab.get_mut(a).unwrap() = 'c';
        assert_eq!(dump(&slab), "c");
        slab.touch(77);
        assert!(slab.get(77).is_none() && slab.remove(77).is_none());
    }

    #[test]
    fn does_not_grow_beyond_what_is_needed() {
        let mut slab = LinkedSlab::default();
        for i in 0..100 {
            slab.push_front(i, 100).unwrap();
        }
        assert_eq!(slab.nodes.capacity(), 100);
    }

    #[test]
    fn validate_sees_a_broken_link_and_a_wrong_count() {
        let mut slab = LinkedSlab::default();
        slab.push_front('a', 4).unwrap();
        let b = slab.push_front('b', 4).unwrap();
        slab.nodes[0].prev = NIL;
        assert!(slab.validate().unwrap_err().contains("back link"));
        slab.nodes[0].prev = b;
        slab.len = 3;
        assert!(slab.validate().unwrap_err().contains("counted"));
        slab.len = 2;
        slab.nodes.push(Node {
            prev: NIL,
            next: NIL,
            item: None,
        });
        assert!(slab.validate().unwrap_err().contains("free"));
    }
}
