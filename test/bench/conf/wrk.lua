-- Prints what wrk counted, exactly and as one line of JSON. There is no function
-- per request here: wrk would spend on it the time it needs to press the peers.
done = function(summary, latency)
	local e = summary.errors
	io.write(string.format(
		'\nSUMMARY {"requests":%d,"bytes":%d,"microseconds":%d,"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d,"p50":%d,"p99":%d}\n',
		summary.requests, summary.bytes, summary.duration,
		e.connect, e.read, e.write, e.status, e.timeout,
		latency:percentile(50), latency:percentile(99)))
end
