-- Traffic now: the bucket under way and the whole one before it, 10 to 20 s that end now. `metrics` and not `requests`:
-- what is not yet committed travels from the collector with every question, and there cells are few, requests many.
select
    date_part('epoch', now()) - date_part('epoch', date_bin(interval '10 seconds', now() - interval '10 seconds')) as seconds,
    coalesce(sum(requests), 0) as requests,
    coalesce(sum(status_4xx), 0) as status_4xx,
    coalesce(sum(status_5xx), 0) as status_5xx,
    coalesce(sum(throttled + quota_exceeded), 0) as throttled,
    coalesce(sum(unauthorized + access_denied + invalid_api_key + expired_token + invalid_signature), 0) as auth_failures,
    p50(latency) as p50_us,
    p90(latency) as p90_us,
    p99(latency) as p99_us,
    p999(latency) as p999_us
from metrics
where time >= date_bin(interval '10 seconds', now() - interval '10 seconds')
