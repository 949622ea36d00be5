# Tokens per second of one sequence against its context: ours, peers, and what the read ceiling allows.
# input: who and what, context, tokens/s, those at the read ceiling
set datafile separator tab
set datafile missing 'NaN'
names = ''
n = 0
array name[64]
place(text) = sum [i = 1:n] (name[i] eq text ? i : 0)
add(text) = (place(text) == 0 ? (n = n + 1, name[n] = text, 0) : 0, 1)
stats input using (add(strcol(1))) nooutput

set terminal svg size 900,500 font 'sans-serif,13' background '#ffffff' noenhanced
set output output
set title device.': decode of one sequence'
set xlabel 'context, tokens'
set ylabel 'tokens/s'
set logscale x 2
set logscale y 10
set grid linecolor '#dddddd'
set border 3 linecolor '#555555'
set tics nomirror
set xtics 1, 4, 2.0**30
set xrange [256:131072]
set key below Left reverse maxcols 3
array colour[8] = ['#2060a0', '#b04020', '#208050', '#806020', '#703080', '#505050', '#2090a0', '#a09020']
of(i, column) = strcol(1) eq name[i] ? column : NaN
# default rows: hollow, in the colour of the tuned ones
suffix(text) = strstrt(text, ', default rows')
tuned(i) = suffix(name[i]) ? place(name[i][1:suffix(name[i]) - 1]) : i
models(i) = sum [j = 1:i] (suffix(name[j]) ? 0 : 1)
hue(i) = colour[(models(tuned(i) ? tuned(i) : i) - 1) % 8 + 1]
plot for [i = 1:n] input using 2:(of(i, column(3))) with linespoints linewidth 2 pointtype (suffix(name[i]) ? 6 : 7) pointsize 0.8 \
	linecolor rgb hue(i) title name[i], \
	for [i = 1:n] input using 2:(suffix(name[i]) ? NaN : of(i, column(4))) with points pointtype 10 pointsize 1 \
	linecolor rgb hue(i) title i == 1 ? 'the same at the read ceiling' : ''
