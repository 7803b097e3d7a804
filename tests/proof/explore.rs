//! Every schedule up to a depth, breadth first, each state once. A stream is moved and never copied, so a
//! state is kept as the schedule that leads to it, and is reached again by doing that.

mod deepen;
mod seen;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::{Checked, Failure, tried};
use crate::wander::SUITE;
use crate::world::World;
use crate::world::event::Event;
use crate::world::setting::Setting;
use seen::Seen;

/// The exploration of one world.
pub struct Explorer {
    pub setting: Setting,
    seen: Seen,
    /// How each state was reached first: from which, by which event.
    from: Vec<(u32, u16)>,
    /// The states of the last level start here.
    frontier: usize,
    pub depth: usize,
    /// Where the transitions of each expanded state lead.
    targets: Vec<u32>,
    degrees: Vec<u8>,
    /// How many schedules of just this depth lead to each state.
    paths: Vec<f64>,
    /// How many schedules up to this depth there are.
    pub schedules: f64,
    pub time: Duration,
}

/// What came of a part of the frontier.
#[derive(Default)]
struct Part {
    first: usize,
    degrees: Vec<u8>,
    targets: Vec<u32>,
    found: Vec<(u32, u32, u16)>,
}

/// How many states one thread takes at a time.
const PART: usize = 256;

impl Explorer {
    /// Starts after the schedule that the world begins with.
    pub fn new(setting: Setting) -> Self {
        Self {
            setting,
            seen: Seen::default(),
            from: vec![(0, 0)],
            frontier: 0,
            depth: 0,
            targets: Vec::new(),
            degrees: Vec::new(),
            paths: vec![1.0],
            schedules: 1.0,
            time: Duration::ZERO,
        }
    }

    pub fn states(&self) -> usize {
        self.from.len()
    }

    /// Those of the next level included, as far as it was explored.
    pub fn seen(&self) -> usize {
        self.seen.len()
    }

    pub fn transitions(&self) -> usize {
        self.targets.len()
    }

    /// Takes every step from every state of the last level. What fails is a shortest schedule, since shorter
    /// ones were tried before.
    pub fn go_deeper(&mut self, threads: usize) -> Result<(), Failure<Event>> {
        let start = Instant::now();
        if self.depth == 0 {
            self.begin()?;
        }
        let (next, over) = (AtomicUsize::new(self.frontier), AtomicBool::new(false));
        let done = Mutex::new(Vec::new());
        let this = &*self;
        let work = || {
            while !over.load(Ordering::Relaxed) {
                let first = next.fetch_add(PART, Ordering::Relaxed);
                if first >= this.states() {
                    break;
                }
                let part = this.expand(first..this.states().min(first + PART));
                over.fetch_or(part.is_err(), Ordering::Relaxed);
                done.lock().expect("no thread panics here").push(part);
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(work);
            }
        });
        let parts: Result<Vec<Part>, Failure<Event>> =
            done.into_inner().expect("no thread panics here").into_iter().collect();
        let mut parts = parts?;
        parts.sort_by_key(|part| part.first);
        self.frontier = self.states();
        self.depth += 1;
        self.from.resize(self.seen.len(), (0, 0));
        for part in parts {
            self.degrees.extend(part.degrees);
            self.targets.extend(part.targets);
            for (state, from, event) in part.found {
                self.from[state as usize] = (from, event);
            }
        }
        self.count_schedules();
        self.time += start.elapsed();
        Ok(())
    }

    fn begin(&self) -> Result<(), Failure<Event>> {
        let prefix = &self.setting.prefix;
        let world = World::new(&self.setting);
        let last = (0..prefix.len()).try_fold(world, |world, at| {
            self.tried(&prefix[..=at], world, |mut world| {
                let done = world.apply(prefix[at])?;
                assert!(done, "{} cannot happen", prefix[at]);
                world.check().map(|()| world)
            })
        })?;
        self.seen.insert(last.fingerprint());
        Ok(())
    }

    fn count_schedules(&mut self) {
        let mut paths = vec![0.0; self.states()];
        let mut targets = self.targets.iter();
        for (degree, ways) in self.degrees.iter().zip(&self.paths) {
            for target in targets.by_ref().take(usize::from(*degree)) {
                paths[*target as usize] += ways;
            }
        }
        self.schedules += paths.iter().sum::<f64>();
        self.paths = paths;
    }

    fn expand(&self, states: std::ops::Range<usize>) -> Result<Part, Failure<Event>> {
        let mut part = Part { first: states.start, ..Part::default() };
        let mut events = Vec::new();
        for state in states {
            let schedule = self.schedule(state);
            let mut at = Some(self.replay(&schedule)?);
            at.as_ref().expect("it is there").enabled(&mut events);
            part.degrees.push(u8::try_from(events.len()).expect("fewer events than that"));
            for event in &events {
                let world = match at.take() {
                    Some(world) => world,
                    None => self.replay(&schedule)?,
                };
                let (target, is_new) = self.step(&schedule, *event, world)?;
                part.targets.push(target);
                if is_new {
                    part.found.push((target, state as u32, event.code()));
                }
            }
        }
        Ok(part)
    }

    /// Takes one step into a state, checks it, and tells which it is. A new one is tried out.
    fn step(&self, schedule: &[Event], event: Event, world: World) -> Result<(u32, bool), Failure<Event>> {
        let schedule: Vec<Event> = schedule.iter().copied().chain([event]).collect();
        self.tried(&schedule, world, |mut world| {
            let done = world.apply(event)?;
            assert!(done, "{event} was offered and cannot happen");
            world.check()?;
            let (target, is_new) = self.seen.insert(world.fingerprint());
            if is_new {
                world.probe()?;
                world.drain()?;
            }
            Ok((target, is_new))
        })
    }

    fn replay(&self, schedule: &[Event]) -> Result<World<'_>, Failure<Event>> {
        self.tried(schedule, World::new(&self.setting), |mut world| {
            schedule.iter().try_for_each(|event| world.apply(*event).map(drop))?;
            Ok(world)
        })
    }

    /// A violation or a panic in what a schedule does, as a failure of that schedule.
    fn tried<'a, T>(
        &self,
        schedule: &[Event],
        world: World<'a>,
        what: impl FnOnce(World<'a>) -> Checked<T>,
    ) -> Result<T, Failure<Event>> {
        tried(|| what(world)).map_err(|violation| {
            let (world, schedule) = (self.setting.title(), schedule.to_vec());
            Failure { suite: SUITE, world, schedule, violation }
        })
    }

    /// The first schedule that led to a state.
    fn schedule(&self, mut state: usize) -> Vec<Event> {
        let mut schedule = Vec::with_capacity(self.depth + self.setting.prefix.len());
        while state != 0 {
            let (from, event) = self.from[state];
            schedule.push(Event::from_code(event));
            state = from as usize;
        }
        schedule.extend(self.setting.prefix.iter().rev());
        schedule.reverse();
        schedule
    }
}
