# REPORT.md of one device. Input, separated by tabs, the first field says what a line is:
#   goal   device what dtype shape state unit pass goal record peer peer_value peer_source    of results/goals.csv
#   peer   kernel case shape state launch status peer peer_version us date                    of peers.csv
#   row    the columns of bench.csv that scripts/report lists
#   peer_step, step                                                                           of peers_decode.csv, decode.csv
#   prompt                                                                                    of prefill.csv
#   gain   the columns of gains.csv that scripts/report lists
#   profile                                                                                   of profile.csv
# Of several rows of one measurement the last counts.

# x with n significant digits and no exponent; a dash for none.
function figure(x, n,   decimals, y) {
	if (x == "")
		return "–"
	decimals = n
	for (y = x; y >= 1; y /= 10)
		decimals--
	return sprintf("%.*f", decimals > 0 ? decimals : 0, x)
}

function percent(x) {
	return x == "" ? "–" : sprintf("%.1f %%", x)
}

function field_of(text, name) {
	return match(" " text " ", " " name "=[^ ]*") ? substr(" " text, RSTART + length(name) + 2, RLENGTH - length(name) - 2) : ""
}

# What a goal is keyed by: the type of the weights, of the cache, of the vector.
function dtype_of(kernel, kase) {
	return field_of(kase, kernel == "gemv" ? "w" : kernel == "rms_norm" ? "x" : "kv")
}

# A goal and whether it is met; `less`: smaller is better.
function goal_text(goal, value, less) {
	if (goal == "")
		return "–"
	return goal (value == "" ? "" : (less ? value <= goal : value >= goal) ? " met" : " missed")
}

function note_peer(key, name, value, version, less) {
	if (value == "")
		return
	versions[version != "" ? name ": " version : name] = 1
	if (key in peer_value && (less ? value >= peer_value[key] : value <= peer_value[key]))
		return
	peer_value[key] = value
	peer_name[key] = name
}

# Sets best_name and best_value: measured peers of the row, else the one that is cited.
function find_peer(own, own_value, own_version, shared_key, goal_key, less) {
	best_name = best_value = ""
	if (own_value != "") {
		best_name = own
		best_value = own_value
		sub(/ way [0-9]+$/, "", own_version)
		versions[own_version != "" ? own ": " own_version : own] = 1
	}
	if (shared_key in peer_value && (best_value == "" || (less ? peer_value[shared_key] < best_value : peer_value[shared_key] > best_value))) {
		best_name = peer_name[shared_key]
		best_value = peer_value[shared_key]
	}
	if (best_value == "" && cited[goal_key] != "") {
		best_name = cited_name[goal_key] "†"
		best_value = cited[goal_key]
		sources[cited_name[goal_key] ": " cited_source[goal_key]] = 1
	}
}

function list(set,   i, n, sorted, text, j, key) {
	n = 0
	for (key in set)
		sorted[++n] = key
	for (i = 2; i <= n; i++)
		for (j = i; j > 1 && sorted[j - 1] > sorted[j]; j--) {
			key = sorted[j]
			sorted[j] = sorted[j - 1]
			sorted[j - 1] = key
		}
	for (i = 1; i <= n; i++)
		text = text (i > 1 ? "; " : "") sorted[i]
	return text
}

BEGIN { FS = "\t" }

# Goals of other devices are no goals here.
$1 == "goal" {
	key = $3 SUBSEP $4 SUBSEP $5 SUBSEP $6
	if ($2 != device)
		next
	if ($7 == "read %") {
		read_goal[key] = $9
		next
	}
	pass[key] = $8
	goal[key] = $9
	record[key] = $10
	cited_name[key] = $11
	cited[key] = $12
	cited_source[key] = $13
	next
}

# The last of each peer, then the best of them.
$1 == "peer" && $6 == "graph" && $7 == "ok" {
	id = $2 SUBSEP dtype_of($2, $3) SUBSEP $4 SUBSEP $5 SUBSEP $8
	if (!(id in last_peer))
		peer_order[++n_peers] = id
	last_peer[id] = $10 "\t" $9
	next
}

$1 == "peer_step" {
	if (!(($2, $3, $5, $6) in last_step))
		step_order[++n_steps] = $2 SUBSEP $3 SUBSEP $5 SUBSEP $6
	last_step[$2, $3, $5, $6] = $7 "\t" $8
	next
}

$1 == "row" {
	kernel = $3; kase = $4; shape = $5; state = $6; launch = $7; choice = $20
	drivers[$21] = toolkits[$22] = hashes[$23] = 1
	if ($15 != "") {
		ceiling[$14] = $15
		if (first_date == "" || $24 < first_date)
			first_date = $24
		if ($24 > last_date)
			last_date = $24
	}
	if ($18 != "ok")
		bad[kernel SUBSEP kase SUBSEP shape SUBSEP state SUBSEP launch SUBSEP choice] = $18 ": " $19
	else
		delete bad[kernel SUBSEP kase SUBSEP shape SUBSEP state SUBSEP launch SUBSEP choice]
	id = kernel SUBSEP kase SUBSEP shape
	if (!(id in known)) {
		known[id] = 1
		order[++n_ids] = id
	}
	line[id, state, launch, choice] = $18 == "ok" ? $0 : ""
	next
}

$1 == "step" {
	id = $3 SUBSEP $4 SUBSEP $5 SUBSEP $6
	if (!(id in step_known)) {
		step_known[id] = 1
		steps[++n_step_ids] = id
	}
	step[id, $7] = $0
	next
}

$1 == "prompt" {
	id = $2 SUBSEP $3 SUBSEP $4 SUBSEP $5 SUBSEP $6
	if (!(id in prompt))
		prompts[++n_prompts] = id
	prompt[id] = $0
	next
}

# A launch that says beside which weights it ran takes the place of the same one that did not say it yet.
$1 == "gain" {
	alone = $6
	if (sub(/ beside .*/, "", alone))
		delete gain[$2, $3, $4, $5, alone, ""]
	id = $2 SUBSEP $3 SUBSEP $4 SUBSEP $5 SUBSEP $6 SUBSEP ($4 == "step" ? $15 : "")
	if (!(id in gain))
		gains[++n_gains] = id
	gain[id] = $0
	next
}

# Launches of a step in their order: the first begins another profile.
$1 == "profile" {
	id = $2 SUBSEP $3 SUBSEP $4 SUBSEP $5 SUBSEP $6
	if (!(id in profile))
		profile_order[++n_profiles] = id
	if ($8 == 0)
		profile[id] = NR
	at = profile[id]
	if (!((at, $9) in op_launches))
		ops[at, ++n_ops[at]] = $9
	step_us[at] = $7
	op_launches[at, $9]++
	op_us[at, $9] += $10
	op_early[at, $9] += $11
	op_gap[at, $9] += $12 > 0 ? $12 : 0
	op_bytes[at, $9] += $13
	sum_us[at] += $10
	profile_gbps[at] = $14
	op_raw[at, $9] += $15
	op_stamp[at, $9] = $16 == "" ? "–" : sprintf("%.3f (%.3f %.3f)", $16, $17, $18) ($15 == $10 ? " unsure" : "")
	next
}

# A row of attention in the order of heads, case and length.
function length_key(id,   part, at) {
	split(id, part, SUBSEP)
	split(part[3], at, "@")
	return at[1] SUBSEP part[2] SUBSEP sprintf("%9d", at[2])
}

function sort_lengths(   i, j, n, sorted) {
	for (i = 1; i <= n_ids; i++) {
		if (order[i] !~ /^gqa_attention/)
			continue
		for (j = ++n; j > 1 && length_key(sorted[j - 1]) > length_key(order[i]); j--)
			sorted[j] = sorted[j - 1]
		sorted[j] = order[i]
	}
	for (i = n_ids; n > 0; i--)
		if (order[i] ~ /^gqa_attention/)
			order[i] = sorted[n--]
}

# Our row: tuned where there is one. Splits it into f; 0 without one.
function ours(id, state, launch) {
	split("", f)
	if (line[id, state, launch, "tuned"] != "")
		return split(line[id, state, launch, "tuned"], f, "\t")
	return split(line[id, state, launch, "default"], f, "\t")
}

function us(id, state, launch,   n) {
	n = ours(id, state, launch)
	return n ? f[8] : ""
}

function health(   text) {
	text = f[16] == "" ? "–" : sprintf("%d", f[16])
	return text (f[17] == "" ? "" : sprintf(", %d W", f[17])) (f[25] == "" ? "" : ", " f[25])
}

# Kernels that are bound by reading: cold, in a graph.
function memory_table(kernel, title,   i, id, part, key, cold, n, ratio, compared, faster, worst, worst_shape) {
	n = compared = faster = worst = 0
	for (i = 1; i <= n_ids; i++) {
		id = order[i]
		split(id, part, SUBSEP)
		if (part[1] != kernel || !ours(id, "cold", "graph"))
			continue
		if (!n++) {
			print "## " title "\n"
			print "| shape | case | rows | µs | goal | best peer | its µs | ours / peer | plain read, µs | read / ours | of ceiling | SM MHz |"
			print "|---|---|---|--:|--:|---|--:|--:|--:|--:|--:|---|"
		}
		cold = f[8]
		key = kernel SUBSEP dtype_of(kernel, part[2]) SUBSEP part[3] SUBSEP "cold"
		find_peer(f[12], f[13], f[28], kernel == "gemv" && field_of(part[2], "x") != "bf16" ? "" : key, key, 1)
		ratio = best_value == "" ? "" : best_name == f[12] && f[29] != "" ? f[29] : cold / best_value
		if (ratio != "") {
			compared++
			faster += ratio < 1
			if (ratio > worst) {
				worst = ratio
				worst_shape = part[3]
			}
		}
		printf "| %s | %s | %s | %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", part[3], part[2], f[20], figure(cold, 4),
			goal_text(goal[key], cold, 1), best_name == "" ? "–" : best_name, figure(best_value, 4),
			ratio == "" ? "–" : sprintf("%.3f", ratio),
			figure(f[26], 4), percent(f[27]) (read_goal[key] == "" ? "" : ", goal " read_goal[key]), percent(f[11]), health()
	}
	if (n)
		print ""
	if (compared)
		printf "Faster than the best peer: %d of the %d rows that have one; ours / peer is at most %.3f, at %s.\n\n", faster, compared, worst,
			worst_shape
}

# Kernels that are bound by latency: hot, beside a launch that does nothing.
function latency_table(kernel, title,   i, id, part, key, hot, n, empty) {
	n = 0
	for (i = 1; i <= n_ids; i++) {
		id = order[i]
		split(id, part, SUBSEP)
		if (part[1] != kernel || !ours(id, "hot", "graph"))
			continue
		if (!n++) {
			print "## " title "\n"
			print "| shape | case | rows | hot, µs | goal | best peer | its µs | ours / peer | empty launch, µs | cold, µs | chain, µs | single, µs |"
			print "|---|---|---|--:|--:|---|--:|--:|--:|--:|--:|--:|"
		}
		hot = f[8]
		empty = f[30]
		key = kernel SUBSEP "bf16" SUBSEP part[3] SUBSEP "hot"
		find_peer(f[12], f[13], f[28], key, key, 1)
		printf "| %s | %s | %s | %s | %s | %s | %s | %s | %s |", part[3], part[2], f[20], figure(hot, 4), goal_text(goal[key], hot, 1),
			best_name == "" ? "–" : best_name, figure(best_value, 4), best_value == "" ? "–" : sprintf("%.3f", hot / best_value), figure(empty, 3)
		printf " %s | %s | %s |\n", figure(us(id, "cold", "graph"), 4), figure(us(id, "chain", "graph"), 4), figure(us(id, "hot", "single"), 4)
	}
	if (n)
		print ""
}

function decode_table(   i, id, part, key, name, n) {
	n = 0
	for (i = 1; i <= n_step_ids; i++) {
		id = steps[i]
		split(id, part, SUBSEP)
		name = (id, "tuned") in step ? "tuned" : "default"
		if (!((id, name) in step))
			continue
		split(step[id, name], f, "\t")
		if (!n++) {
			print "## Decode, batch 1\n"
			print "| model | weights, cache | context | rows | tokens/s | pass | goal | record | best peer | its tokens/s | ours / peer | of ceiling | J per token | MHz, held down by |"
			print "|---|---|--:|---|--:|--:|--:|--:|---|--:|--:|--:|--:|---|"
		}
		key = part[1] SUBSEP part[2] SUBSEP part[4] SUBSEP "decode"
		find_peer("", "", "", "step" SUBSEP part[1] SUBSEP part[2] SUBSEP part[4], key, 0)
		printf "| %s | %s, %s | %d | %s | %s (%s–%s) | %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", part[1], part[2], part[3], part[4], name,
			figure(f[8], 4), figure(f[9], 4), figure(f[10], 4), goal_text(pass[key], f[8], 0), goal_text(goal[key], f[8], 0),
			goal_text(record[key], f[8], 0), best_name == "" ? "–" : best_name, figure(best_value, 4),
			best_value == "" ? "–" : sprintf("%.2f", f[8] / best_value), percent(f[11]), figure(f[12], 3),
			f[13] == "" ? "–" : f[13] (f[14] == "" ? "" : ", " f[14])
	}
	if (n)
		print ""
}

function prompt_table(   i) {
	if (!n_prompts)
		return
	print "## Prompts\n"
	print "From an empty cache to the logits of the last token.\n"
	print "| model | weights, cache | tokens | at a time | products | tokens/s | TFLOP/s | mJ per token |"
	print "|---|---|--:|--:|---|--:|--:|--:|"
	for (i = 1; i <= n_prompts; i++) {
		split(prompt[prompts[i]], f, "\t")
		printf "| %s | %s, %s | %d | %d | %s | %s (%s–%s) | %s | %s |\n", f[2], f[3], f[4], f[5], f[6], f[7], figure(f[8], 4),
			figure(f[9], 4), figure(f[10], 4), figure(f[11], 4), f[12] == "" ? "–" : figure(1e3 * f[12], 3)
	}
	print ""
}

function more(x, lo, hi) {
	return x == "" ? "–" : sprintf("%+.2f", x) (lo == "" ? "" : sprintf(" (%+.2f %+.2f)", lo, hi))
}

# What the decode stage of the tuner ended with.
function gains_table(   i, n) {
	for (i = 1; i <= n_gains; i++) {
		if (!(gains[i] in gain))
			continue
		split(gain[gains[i]], f, "\t")
		if (f[4] == "step")
			continue
		if (!n++) {
			print "## What rows bring\n"
			print "Speed over the default in percent: what won alone, alone and in the decode loop, and the row in the decode loop (interval).\n"
			print "| model at context | launch | case | launches, µs each | alone | in the step | row | verdict |"
			print "|---|---|---|--:|--:|--:|--:|---|"
		}
		printf "| %s at %d | %s %s | %s | %d × %s | %s | %s | %s | %s |\n", f[2], f[3], f[4], f[6], f[5], f[7], figure(f[14], 3), more(f[12]),
			more(f[13]), more(f[9], f[10], f[11]), f[8]
	}
	if (n) {
		print "\n| model at context | rows | tokens/s | over the defaults, % |"
		print "|---|---|--:|--:|"
	}
	for (i = 1; i <= n_gains; i++) {
		split(gain[gains[i]], f, "\t")
		if (f[4] == "step")
			printf "| %s at %d | %s | %s | %s |\n", f[2], f[3], f[15], figure(f[16], 4), more(f[9], f[10], f[11])
	}
	if (n)
		print ""
}

# Each launch is charged from when the one before had stored its results to when it has, less what its stamp costs.
function profile_table(   i, j, at, op, n, part) {
	for (i = 1; i <= n_profiles; i++) {
		at = profile[profile_order[i]]
		split(profile_order[i], part, SUBSEP)
		if (i == 1) {
			print "## Where the time of a step goes\n"
			print "A launch has the time from when the one before had stored its results to when it has. Early: how long before that it began;"
			print "gap: how long after it was past its wait; both of one launch. Launches stamp themselves, which the step beside them does not. What a stamp"
			print "costs (99 % interval) is what a step takes longer in which that operation alone stamps, for each of its launches; it is taken off their time"
			print "as stamped, but where it is unsure or was not measured.\n"
		}
		printf "%s %s, %s cache, context %d, %s rows: a step takes %s µs, its launches add up to %s µs (%+.1f %%).\n\n", part[1], part[2], part[3],
			part[4], part[5], figure(step_us[at], 4), figure(sum_us[at], 4), 100 * (sum_us[at] / step_us[at] - 1)
		print "| operation | launches | µs | of the step | early, µs | gap, µs | MB | of ceiling | as stamped, µs | a stamp, µs |"
		print "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
		for (j = 1; j <= n_ops[at]; j++) {
			op = ops[at, j]
			n = op_launches[at, op]
			printf "| %s | %d | %s | %s | %.2f | %.2f | %s | %s | %s | %s |\n", op, n, figure(op_us[at, op], 4), percent(100 * op_us[at, op] / sum_us[at]),
				op_early[at, op] / n, op_gap[at, op] / n, figure(op_bytes[at, op] / 1e6, 4),
				percent(op_bytes[at, op] / op_us[at, op] / 10 / profile_gbps[at]), op_raw[at, op] ? figure(op_raw[at, op], 4) : "–",
				op_stamp[at, op]
		}
		print ""
	}
}

END {
	for (i = 1; i <= n_peers; i++) {
		split(peer_order[i], part, SUBSEP)
		split(last_peer[peer_order[i]], value, "\t")
		note_peer(part[1] SUBSEP part[2] SUBSEP part[3] SUBSEP part[4], part[5], value[1], value[2], 1)
	}
	for (i = 1; i <= n_steps; i++) {
		split(step_order[i], part, SUBSEP)
		split(last_step[step_order[i]], value, "\t")
		note_peer("step" SUBSEP part[1] SUBSEP part[2] SUBSEP part[3], part[4], value[1], value[2], 0)
	}
	print "# " device "\n"
	print "Written by `make report` from the CSVs of this folder and `results/goals.csv`; nothing here is typed by hand.\n"
	if (last_date != "") {
		print "Kernels measured " first_date " to " last_date ", driver " list(drivers) ", " list(toolkits) ". Ceilings of the last run: read " \
			figure(ceiling["read"], 4) " GB/s" (ceiling["copy"] == "" ? "" : ", copy " figure(ceiling["copy"], 4) " GB/s") ". Sources " list(hashes) ".\n"
		print "Microseconds of one launch inside a graph of at least 20, cold weights unless a column says otherwise: medians. A plain read is the best of"
		print "several readers of as many bytes, cold, in any run of the file. Ours and the peer are timed by turns where the peer is a library that the bench calls.\n"
	}
	sort_lengths()
	memory_table("gemv", "GEMV")
	memory_table("gqa_attention", "Attention of one token")
	latency_table("rms_norm", "RMSNorm")
	latency_table("rope", "RoPE")
	decode_table()
	prompt_table()
	profile_table()
	gains_table()
	n = 0
	for (key in bad)
		n++
	if (n) {
		print "## What has no time\n"
		split("", lines)
		for (key in bad) {
			text = key
			gsub(SUBSEP, " ", text)
			lines["- " text ": " bad[key]] = 1
		}
		text = list(lines)
		gsub(/; - /, "\n- ", text)
		print text "\n"
	}
	text = list(versions)
	if (text != "")
		print "Peers, measured on this device: " text ".\n"
	text = list(sources)
	if (text != "")
		print "† not measured beside ours, but cited: " text ".\n"
}
