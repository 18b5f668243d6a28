-- A pipeline that an operator has paused. The writer reads this under the pipeline's lock: what is committed after it
-- was set, by whichever process, heeds it.
alter table accord.pipeline
    add column paused_since  timestamptz,
    add column paused_by     text,
    add column paused_reason text;
