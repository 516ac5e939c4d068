-- Traffic over the window by api, stage, route and method, and its rate now (of the time that now.sql counts). The
-- busiest rows first, and no more of them than anyone scrolls through.
select
    coalesce(api, '') as api,
    coalesce(stage, '') as stage,
    coalesce(route, '') as route,
    coalesce(method, '') as method,
    coalesce(sum(requests) filter (where time >= date_bin(interval '10 seconds', now() - interval '10 seconds')), 0)
        / (date_part('epoch', now()) - date_part('epoch', date_bin(interval '10 seconds', now() - interval '10 seconds'))) as rate,
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
where time >= now() - interval '{window} seconds'
group by coalesce(api, ''), coalesce(stage, ''), coalesce(route, ''), coalesce(method, '')
order by requests desc
limit 1000
