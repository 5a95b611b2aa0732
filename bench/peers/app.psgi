# The benchmark application for Plack.
use strict;
use warnings;

my $block = 'portico ' x 8192;
my $text  = ['Content-Type' => 'text/plain; charset=utf-8'];
my $bytes = ['Content-Type' => 'application/octet-stream'];

sub {
    my $env  = shift;
    my $path = $env->{PATH_INFO};
    return [200, $text,  ["Hello, world!\n"]] if $path eq '/hello';
    return [200, $bytes, [$block]] if $path eq '/64k';
    if ($path eq '/echo') {
        my ($body, $at) = ('', 0);
        while (my $count = $env->{'psgi.input'}->read($body, 65536, $at)) { $at += $count }
        return [200, $bytes, [$body]];
    }
    return [404, $text, []];
};
