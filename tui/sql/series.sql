-- Traffic over the window in steps, for the sparklines. Steps without traffic have no row.
select
    cast(arrow_cast(date_bin(interval '{step} seconds', time), 'Timestamp(Microsecond, Some("UTC"))') as bigint) as start_us,
    cast(arrow_cast(now(), 'Timestamp(Microsecond, Some("UTC"))') as bigint) as now_us,
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
where time >= date_bin(interval '{step} seconds', now() - interval '{window} seconds')
group by date_bin(interval '{step} seconds', time)
order by start_us
