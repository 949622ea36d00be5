# GEMV as a share of a plain read of as many bytes, and the peer, weights cold, launched inside a graph.
# input: label, percent of ours, percent of the peer, its name; see scripts/figures
set datafile separator tab
set datafile missing 'NaN'
stats input using 2 nooutput
n = STATS_records
peer_name = ''
stats input using (strcol(4) eq '-' ? NaN : (peer_name = strstrt(peer_name, strcol(4)) ? peer_name : \
	peer_name.(peer_name eq '' ? '' : ', ').strcol(4), 1)) nooutput

set terminal svg size 900,440 font 'sans-serif,13' background '#ffffff' noenhanced
set output output
set title device.': GEMV, cold weights, inside a graph'
set ylabel '% of a plain read of as many bytes'
set xlabel 'matrix, M rows x K columns; case' offset 0,-2.4
set bmargin 7
set yrange [0:115]
set ytics 20
set xrange [-0.6:n - 0.4]
set xtics nomirror scale 0 font ',8'
set grid ytics linecolor '#dddddd'
set border 3 linecolor '#555555'
set tics nomirror
set key top left horizontal
set boxwidth 0.36
set style fill solid noborder
offset = peer_name eq '' ? 0 : 0.19
plot input using ($0 - offset):2:xtic(1) with boxes linecolor '#2060a0' title 'warpsmith', \
	for [i = 1:(peer_name eq '' ? 0 : 1)] input using ($0 + offset):3 with boxes linecolor '#c0c0c0' title peer_name
