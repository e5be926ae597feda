//! Doubly linked queues threaded through one vector by slot number: constant-time moves in safe code, eight bytes a slot.

/// The bits of a link that hold a position; the rest of `prev` says which queue the node is in.
const POSITION_BITS: u32 = 30;

/// Selects the position within a link.
const POSITION: u32 = (1 << POSITION_BITS) - 1;

/// The most slots: every position fits its bits.
pub(super) const MAX_SLOTS: usize = POSITION as usize - NOWHERE as usize;

/// The queue number that means "in no queue".
const NOWHERE: u32 = 3;

/// The neighbours of one slot. Positions are slot numbers plus the number of queues, because the queues' end marks come first.
#[derive(Debug, Clone, Copy)]
struct Node {
    /// The neighbour towards the front, and in the upper bits the queue the node is in.
    prev: u32,
    /// The neighbour towards the back.
    next: u32,
}

impl Node {
    /// A node in no queue.
    const FREE: Self = Self {
        prev: NOWHERE << POSITION_BITS,
        next: 0,
    };

    /// Gives the position of the neighbour towards the front.
    fn before(self) -> usize {
        (self.prev & POSITION) as usize
    }

    /// Gives the position of the neighbour towards the back.
    fn after(self) -> usize {
        self.next as usize
    }

    /// Gives the queue the node is in, or [`NOWHERE`].
    fn queue(self) -> u32 {
        self.prev >> POSITION_BITS
    }
}

/// `N` queues (at most 3) over the slots of one shard; a slot is in at most one of them. New slots enter at the front.
#[derive(Debug, Clone)]
pub(crate) struct Links<const N: usize> {
    /// First one end mark per queue, which closes its ring, then a node per slot.
    nodes: Vec<Node>,
    /// How many slots each queue holds.
    lens: [usize; N],
}

impl<const N: usize> Default for Links<N> {
    fn default() -> Self {
        const { assert!(N <= NOWHERE as usize, "the queue number has two bits") };
        let mut links = Self {
            nodes: Vec::new(),
            lens: [0; N],
        };
        links.clear();
        links
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "slot numbers and queue numbers fit by contract: u32 slots below 2^30, at most 3 queues"
)]
impl<const N: usize> Links<N> {
    /// Empties all queues; the room for slots stays reserved.
    pub(crate) fn clear(&mut self) {
        let slots = self.nodes.len().saturating_sub(N);
        self.nodes.clear();
        self.nodes.extend((0..N as u32).map(|queue| Node {
            prev: queue << POSITION_BITS | queue,
            next: queue,
        }));
        self.lens = [0; N];
        self.reserve(slots);
    }

    /// Makes room for slot numbers below `slots`.
    pub(crate) fn reserve(&mut self, slots: usize) {
        if self.nodes.len() < slots + N {
            self.nodes.resize(slots + N, Node::FREE);
        }
    }

    /// Counts the slots of a queue.
    pub(crate) fn len(&self, queue: usize) -> usize {
        self.lens[queue]
    }

    /// Counts the slots of all queues.
    pub(crate) fn total(&self) -> usize {
        self.lens.iter().sum()
    }

    /// Tells which queue a slot is in.
    pub(crate) fn queue_of(&self, slot: u32) -> Option<usize> {
        let queue = self.nodes.get(slot as usize + N)?.queue();
        (queue != NOWHERE).then_some(queue as usize)
    }

    /// Gives the slot at the back of a queue.
    pub(crate) fn back(&self, queue: usize) -> Option<u32> {
        Self::slot(self.nodes[queue].before())
    }

    /// Gives the neighbour of a queued slot towards the front; `None` at the front.
    pub(crate) fn before(&self, slot: u32) -> Option<u32> {
        Self::slot(self.nodes[slot as usize + N].before())
    }

    /// Puts a slot that is in no queue at the front of one.
    pub(crate) fn push_front(&mut self, queue: usize, slot: u32) {
        debug_assert_eq!(self.queue_of(slot), None, "the slot is already queued");
        let tag = (queue as u32) << POSITION_BITS;
        let position = slot as usize + N;
        let first = self.nodes[queue].after();
        self.nodes[position] = Node {
            prev: tag | queue as u32,
            next: first as u32,
        };
        self.nodes[first].prev = tag | position as u32;
        self.nodes[queue].next = position as u32;
        self.lens[queue] += 1;
    }

    /// Puts a slot that is in no queue at the back of one.
    pub(crate) fn push_back(&mut self, queue: usize, slot: u32) {
        debug_assert_eq!(self.queue_of(slot), None, "the slot is already queued");
        let tag = (queue as u32) << POSITION_BITS;
        let position = slot as usize + N;
        let last = self.nodes[queue].before();
        self.nodes[position] = Node {
            prev: tag | last as u32,
            next: queue as u32,
        };
        self.nodes[last].next = position as u32;
        self.nodes[queue].prev = tag | position as u32;
        self.lens[queue] += 1;
    }

    /// Takes a slot out of its queue and tells which one that was; `None` if it was in no queue.
    pub(crate) fn unlink(&mut self, slot: u32) -> Option<usize> {
        let queue = self.queue_of(slot)?;
        let position = slot as usize + N;
        let node = self.nodes[position];
        self.nodes[node.before()].next = node.next;
        // Both are in the same queue, so the upper bits are right too.
        self.nodes[node.after()].prev = node.prev;
        self.nodes[position] = Node::FREE;
        self.lens[queue] -= 1;
        Some(queue)
    }

    /// Moves a queued slot to the front of a queue.
    pub(crate) fn move_front(&mut self, queue: usize, slot: u32) {
        self.unlink(slot);
        self.push_front(queue, slot);
    }

    /// Walks a queue from its front.
    pub(crate) fn iter(&self, queue: usize) -> impl Iterator<Item = u32> {
        let mut position = self.nodes[queue].after();
        std::iter::from_fn(move || {
            let slot = Self::slot(position)?;
            position = self.nodes[position].after();
            Some(slot)
        })
    }

    /// Follows a rebuilt table: slot `i` becomes `new_of_old[i]`; the order of the queues stays.
    pub(crate) fn renumber(&mut self, new_of_old: &[u32], slots: usize) {
        let mut renumbered = Self::default();
        renumbered.reserve(slots);
        for queue in 0..N {
            let mut position = self.nodes[queue].before();
            while let Some(slot) = Self::slot(position) {
                renumbered.push_front(queue, new_of_old[slot as usize]);
                position = self.nodes[position].before();
            }
        }
        *self = renumbered;
    }

    /// Checks that every ring is closed both ways, carries its queue's number and has as many slots as counted.
    ///
    /// # Errors
    ///
    /// Says which invariant is broken.
    pub(crate) fn validate(&self) -> Result<(), String> {
        for queue in 0..N {
            let mut position = queue;
            for step in 0..=self.lens[queue] {
                let next = self.nodes[position].after();
                if self.nodes[next].before() != position || self.nodes[next].queue() as usize != queue {
                    return Err(format!("queue {queue} is torn at step {step}"));
                }
                position = next;
            }
            if position != queue {
                return Err(format!("queue {queue} has more than {} slots", self.lens[queue]));
            }
        }
        let queued = self
            .nodes
            .iter()
            .skip(N)
            .filter(|node| node.queue() != NOWHERE)
            .count();
        if queued == self.total() {
            Ok(())
        } else {
            Err(format!(
                "{queued} slots say they are queued, {} are",
                self.total()
            ))
        }
    }

    /// Turns a position into a slot; `None` for an end mark.
    fn slot(position: usize) -> Option<u32> {
        position.checked_sub(N).map(|slot| slot as u32)
    }
}
