# GEMV as a share of the measured read ceiling: the tuned rows and the peer, weights cold, launched inside a graph.
# gnuplot -e "input='bench.csv'; output='gemv.svg'" plots/gemv.gp
set datafile separator comma
set datafile columnheaders

# One bar per shape, weight type and epilogue; its last row counts. Percents are inverse to times: the bytes are the same.
array ours[99]
array peer[99]
ids = ''
device = ''
peer_name = ''
wanted(x) = strcol('kernel') eq 'gemv' && strcol('state') eq 'cold' && strcol('launch') eq 'graph' \
	&& strcol('choice') eq 'tuned' && strcol('status') eq 'ok'
id(shape, kind) = shape.'|'.word(kind, 1)[3:*].'|'.word(kind, 3)[10:*]
place(name) = sum [i = 1:words(ids)] (word(ids, i) eq name ? i : 0)
add(name) = (place(name) ? 0 : (ids = ids.name.' ', 0), place(name))
note_peer(i) = strcol('peer_us') eq '' ? (peer[i] = 0) : \
	(peer_name = strcol('peer'), peer[i] = column('percent') * column('us') / column('peer_us'))
note(i) = (device = strcol('device'), ceiling = column('ceiling_gbps'), ours[i] = column('percent'), note_peer(i), i)
stats input using (wanted(0) ? note(add(id(strcol('shape'), strcol('case')))) : NaN) nooutput
n = words(ids)
if (n == 0) exit

shape(name) = name[1:strstrt(name, '|') - 1]
kind(name) = name[strstrt(name, '|') + 1:*]
label(name) = shape(name)."\n".kind(kind(name))."\n".shape(kind(name))

set terminal svg size 900,420 font 'sans-serif,13' background '#ffffff' noenhanced
set output output
set title device.': GEMV, cold weights, inside a graph'
set ylabel sprintf('%% of the measured read ceiling, %.0f GB/s', ceiling)
set xlabel 'matrix, M rows x K columns; epilogue; type of the weights' offset 0,-1.6
set bmargin 5.5
set yrange [0:110]
set ytics 20
set xrange [0.4:n + 0.6]
set xtics () nomirror scale 0 font ',10'
do for [i = 1:n] { set xtics add (label(word(ids, i)) i) }
set grid ytics linecolor '#dddddd'
set border 3 linecolor '#555555'
set tics nomirror
set key top left horizontal
set boxwidth 0.36
set style fill solid noborder
# The bars come from the arrays, not from a CSV.
set datafile separator whitespace
unset datafile columnheaders
offset = peer_name eq '' ? 0 : 0.19
with_peer = peer_name eq '' ? 0 : 1
plot ours using ($1 - offset):($1 <= n ? $2 : NaN) with boxes linecolor '#2060a0' title 'warpsmith, tuned', \
	for [i = 1:with_peer] peer using ($1 + offset):($1 <= n ? $2 : NaN) with boxes linecolor '#c0c0c0' title peer_name
