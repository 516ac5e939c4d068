-- Whether the numbers above can be trusted: what was lost on the way, logs and traces together, over the window.
select
    coalesce(sum(stored) filter (where signal = 'logs'), 0) as records,
    coalesce(sum(dropped), 0) as dropped,
    coalesce(sum(duplicate), 0) as duplicate,
    coalesce(sum(rejected), 0) as rejected,
    coalesce(sum(gaps), 0) as gaps
from ledger
where time >= now() - interval '{window} seconds'
