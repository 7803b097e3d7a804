#!lua flags=allow-oom
-- Where the engine has no memory left, this is run all the same. What a session leaves goes nowhere else, and is little: the
-- queue of one session, which has a bound. What is written down of it goes next.
