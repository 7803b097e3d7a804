//! The options that Lua gives, by the names of the crate's.

use std::num::{NonZeroU32, NonZeroUsize};

use xmpp_sm::{AckFreq, OnFull, StaleH};

use super::*;

pub fn host(options: &LuaTable) -> LuaResult<LuaHost> {
    let mut config = Config::default().ack_freq(AckFreq::SelfClocked);
    config = config.stale_h(StaleH { enabled: true, ..StaleH::default() });
    let (mut sessions_max, mut ack_delay) = (None, None);
    for option in options.pairs::<String, f64>() {
        let (name, value) = option?;
        let seconds = Duration::try_from_secs_f64(value).map_err(LuaError::external)?;
        let number = NonZeroU32::new(value as u32).unwrap_or(NonZeroU32::MIN);
        config = match &*name {
            "buffer_max" => config.buffer_max(number),
            "backlog_max" => config.backlog_max(number),
            "full_grace" => config.on_full(OnFull::EndAfter(seconds)),
            "resume_timeout" => config.resume_timeout(Some(seconds)),
            "resume_timeout_max" => config.resume_timeout_max(Some(seconds)),
            "unacked_max" => config.ack_freq(AckFreq::Every(number.saturating_add(1))),
            "ack_timeout" => config.ack_timeout(Some(seconds)),
            "ack_delay" => {
                ack_delay = Some(seconds);
                config
            }
            "sessions_max" => {
                sessions_max = NonZeroUsize::new(value as usize);
                config
            }
            _ => return Err(LuaError::runtime(format!("there is no option {name}"))),
        };
    }
    let config = Arc::new(config);
    let store = MemoryStore::new(&config).per_owner(sessions_max.unwrap_or(NonZeroUsize::MAX));
    Ok(LuaHost(Rc::new(Host { config, store, ack_delay, streams: RefCell::default(), next_id: Cell::new(1) })))
}
