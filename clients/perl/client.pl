# perl client.pl MODEL.onnx INPUT.bin: for each sample of the file (float32, little endian) the five likeliest classes.
use strict;
use warnings;
use FFI::Platypus 2.00;

my ($model_path, $input_path) = @ARGV;
my $ffi = FFI::Platypus->new(api => 2, lib => $ENV{GLUEBALL_PREDICT} // 'libglueball_predict.so');
$ffi->attach(gb_open         => ['string', 'int'] => 'opaque');
$ffi->attach(gb_output_shape => ['opaque', 'sint64[]', 'int'] => 'int');
$ffi->attach(gb_predict      => ['opaque', 'float[]', 'sint64', 'float[]', 'sint64'] => 'sint64');
$ffi->attach(gb_error        => [] => 'string');
$ffi->attach(gb_close        => ['opaque'] => 'void');

open(my $file, '<:raw', $input_path) or die "$input_path: $!\n";
my @images = unpack 'f<*', do { local $/; <$file> };
my $model = gb_open($model_path, 1) // die gb_error(), "\n";
my @shape = (0, 0);
gb_output_shape($model, \@shape, 2);
my @scores = (0) x (@images * $shape[1]);
my $count = gb_predict($model, \@images, scalar @images, \@scores, scalar @scores);
die gb_error(), "\n" if $count < 0;
gb_close($model);

for (my $start = 0; $start < $count; $start += $shape[1]) {
    my @row = @scores[$start .. $start + $shape[1] - 1];
    my @order = sort { $row[$b] <=> $row[$a] } 0 .. $#row;
    print join('  ', map { sprintf '%d %.6f', $_, $row[$_] } @order[0 .. 4]), "\n";
}
