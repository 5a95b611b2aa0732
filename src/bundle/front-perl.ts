/**
 * The front of a resident bundle in Perl, which every host has: it hands a CGI request over FastCGI
 * to the resident process, which it starts if needed.
 *
 * No modules, because `use Socket` alone takes longer than the request. Perl 5.8 is enough. Whatever
 * fails before the request body is read makes it run Node for this one request.
 */
import type { FrontSettings } from './front-settings.ts'

/** The Perl part, up to and including the line `__END__`. */
export function perlFront({ node, flags, loader, environment, start }: FrontSettings): string {
  return `#!/usr/bin/perl
# A bundle of Portico: this script, and after __END__ the program that it runs.
my $node = ${perlString(node)};
my @flags = (${flags.map(perlString).join(', ')});
my $loader = ${perlString(loader)};
my @keep = (${environment.map(perlString).join(', ')});
# Taint mode wants a PATH that the script itself has set.
($ENV{PATH}) = (defined $ENV{PATH} && length $ENV{PATH} ? $ENV{PATH} : '/usr/local/bin:/usr/bin:/bin') =~ m{(.*)}s;
delete @ENV{'IFS', 'CDPATH', 'ENV', 'BASH_ENV'};

# The absolute path of this file: the resident process has another working directory.
my ($app) = $0 =~ m{^(/.*)}s;
if (!defined $app) {
  my $cwd = readlink '/proc/self/cwd';
  ($app) = "$cwd/$0" =~ m{(.*)}s if defined $cwd;
  ($app) = ($ENV{SCRIPT_FILENAME} || '') =~ m{^(/.*)}s unless defined $cwd;
}
$node = find($node) unless $node =~ m{^/};
my @program = stat $app;
my @runtime = stat $node;

# A new upload and a new Node have a new name, so no process with old code is ever asked.
my $name = sprintf '%x-%x-%x-%x-%x', @program[0, 1, 9, 7], $runtime[9] || 0;
my $host = '';
if (open my $file, '<', '/proc/sys/kernel/hostname') { $host = <$file>; chomp $host; }
my $sum = 0;
$sum = ($sum * 31 + $_) % 4294967296 for unpack 'C*', $host;
($sum) = $sum =~ m{(\\d+)};
$name .= "-$sum"; # A home directory may be shared by several machines.

my ($socket, $reached, $why, $log);
my $begun = 0; # Whether the body was read or a byte of the response written.
# Under a server that does not speak CGI there is nothing to hand over.
rarely('fallback', '') unless @program && @runtime && defined $ENV{REQUEST_METHOD};

my @directories = directories($ENV{HOME});
my $connected = reach();
if (!$connected && ($ENV{HOME} || '') !~ m{^/}) {
  # Looking up the user takes longer than a request, so it comes after /tmp.
  @directories = directories((getpwuid $>)[7]);
  $connected = reach();
}
$connected ||= rarely('start');
rarely('fallback', $why) unless $connected;
hand_over();

sub find {
  for (split /:/, $ENV{PATH}) { my ($file) = "$_/$_[0]" =~ m{(.*)}s; return $file if -x $file }
  return $_[0];
}

# Where the socket can be: nothing that another user could have made is used.
sub directories {
  my ($home) = @_;
  my @all;
  push @all, "$ENV{XDG_RUNTIME_DIR}/portico" if ($ENV{XDG_RUNTIME_DIR} || '') =~ m{^/};
  push @all, "$home/.portico" if defined $home && $home =~ m{^/} && $home ne '/';
  push @all, "/tmp/portico-$>";
  # A path of a socket has 107 bytes at most; while it starts, the process adds its pid.
  return map { my ($path) = m{(.*)}s; length("$path/$name") < 98 ? $path : () } @all;
}

# A directory of this user alone, and not a symbolic link.
sub usable {
  my @status = lstat $_[0] or return 0;
  if ($status[4] != $> || ($status[2] & 0170077) != 0040000) {
    $why = "rule 4: $_[0] is not a directory of user $> alone (mode 0700)";
    return 0;
  }
  return 1;
}

# Connects to the process, wherever its socket is.
sub reach {
  for my $directory (@directories) {
    next unless usable($directory) && dial("$directory/$name");
    $log = "$directory/log";
    return 1;
  }
  return 0;
}

sub dial {
  my ($path) = @_;
  my $address;
  if ($^O eq 'linux') { $address = pack 'S a*', 1, "$path\\0" }
  else { require Socket; $address = Socket::sockaddr_un($path) }
  socket $socket, 1, 1, 0 or return 0;
  $reached = $path;
  return 1 if connect $socket, $address;
  # ENOENT, ECONNREFUSED: it has ended. Others, such as a full queue, do not mean that.
  my $code = $!+0;
  $why = "rule 2: $path: $!" unless $code == 2 || $code == 111 || $code == 61 || $code == 146;
  close $socket;
  return 0;
}

sub record {
  my ($type, $content) = @_;
  return pack('CCnnCx', 1, $type, $type == 9 ? 0 : 1, length $content, 0) . $content;
}

sub pair {
  my ($key, $value) = @_;
  return join '', (map { length() < 128 ? chr length : pack 'N', length() | 0x80000000 } $key, $value), $key, $value;
}

sub hand_over {
  binmode STDIN; binmode STDOUT; binmode STDERR;
  $SIG{PIPE} = 'IGNORE';
  my $length = $ENV{CONTENT_LENGTH} || 0;
  my $body = $length ne '0' || defined $ENV{HTTP_TRANSFER_ENCODING};
  my $repeatable = !$body && $ENV{REQUEST_METHOD} =~ /^(?:GET|HEAD|OPTIONS|PUT|DELETE)\\z/;
  my $params = join '', map { pair($_, $ENV{$_}) } keys %ENV;
  my $out = '';
  # Only a process that is there responds to this; then the request has begun, and is not repeated.
  $out = record(9, pair('FCGI_MPXS_CONNS', '')) unless $repeatable;
  my $request = pack('CCnnCxnCx5', 1, 1, 1, 8, 0, 1, 0);
  $request .= record(4, $_) for unpack('(a65535)*', $params), '';
  $request .= record(5, '') unless $body;
  if ($repeatable) { $out = $request; $request = '' }
  my ($in, $ended, $eof, $status) = ('', !$body, 0, undef);
  my ($alive, $quiet, $left) = (0, 0, $length);
  my ($nonblock, $setfl) = $^O eq 'linux' ? (2048, 4) : (4, 4);
  fcntl $socket, $setfl, $nonblock | fcntl($socket, 3, 0);
  my $failure = 'the resident process ended the connection';
  while (!defined $status) {
    my ($r, $w) = ('', '');
    vec($r, fileno $socket, 1) = 1;
    # Both directions in one loop: a response can come before the body is sent.
    vec($r, 0, 1) = 1 if !$ended && !length $request && length $out < 65536;
    vec($w, fileno $socket, 1) = 1 if length $out;
    my $count = select $r, $w, undef, $alive ? undef : ${start.blockTime / 2};
    if ($count < 0) { next if $!+0 == 4; last }
    if (!$count) {
      # A request may take long, but its process responds to this at once, unless its event loop is blocked.
      if (!$quiet++) { $out .= record(9, pair('FCGI_MPXS_CONNS', '')) if $repeatable; next }
      $failure = rarely('blocked');
      last;
    }
    if (vec $w, fileno $socket, 1) {
      my $n = syswrite $socket, $out;
      if (defined $n) { substr $out, 0, $n, '' }
      elsif (!again()) { $failure = "write: $!"; $out = ''; $ended = 1; }
    }
    if (!$ended && vec $r, 0, 1) {
      my $n = sysread STDIN, my $chunk, 32768;
      $begun = 1;
      $ended = 1 if !$n;
      $left -= $n || 0;
      $out .= record(5, $n ? $chunk : '');
    }
    next unless vec $r, fileno $socket, 1;
    my $n = sysread $socket, $in, 65536, length $in;
    if (!defined $n) { next if again(); $failure = "read: $!"; last }
    last if !$n;
    while (length $in >= 8) {
      my ($type, $size, $padding) = unpack 'xCxxnC', $in;
      last if length $in < 8 + $size + $padding;
      my $content = substr $in, 8, $size;
      substr $in, 0, 8 + $size + $padding, '';
      $alive = 1;
      if ($type == 6) { put($content) }
      elsif ($type == 7) { syswrite STDERR, $content }
      elsif ($type == 10) { if (length $request) { $out .= $request; $request = ''; $begun = 1 } }
      elsif ($type == 3) { $status = unpack 'N', $content }
    }
  }
  if (defined $status) {
    # With unread bytes in its pipe, some web servers truncate or lose the response.
    while (!$ended && ($left > 0 || $length eq '0')) {
      my $n = sysread STDIN, my $chunk, 65536;
      if (!$n) { next if !defined $n && $!+0 == 4; last }
      $left -= $n;
    }
    exit($status ? 1 : 0);
  }
  close $socket;
  rarely('fallback', "rule 11: $failure") if !$begun;
  rarely('note', "rule 11: $failure");
  print "Status: 502 Bad Gateway\\r\\nContent-Type: text/plain\\r\\n\\r\\nThe program ended before it responded.\\n" unless $begun > 1;
  exit 1;
}

# EINTR, EAGAIN on Linux, EAGAIN on BSD and macOS. The hash of error names would load a module.
sub again { my $code = $!+0; return $code == 4 || $code == 11 || $code == 35 }

# The response goes out at once. If the web server is gone, so is this process, and the
# application sees that the connection closes.
sub put {
  my ($content) = @_;
  $begun = 2 if length $content;
  my $at = 0;
  while ($at < length $content) {
    my $n = syswrite STDOUT, $content, length($content) - $at, $at;
    if (!defined $n) {
      if (again()) { select undef, undef, undef, 0.005; next }
      exit 1;
    }
    $at += $n;
  }
}

# Perl compiles this only for a request that needs it.
my $rare;
BEGIN { $rare = <<'RARE' }
# One line in the log of the directory, or of the web server if there is no directory.
sub note {
  my ($text) = @_;
  my ($file, @time) = (undef, gmtime);
  my $line = sprintf "%04d-%02d-%02dT%02d:%02d:%02dZ cgi %d: %s\\n", $time[5] + 1900, $time[4] + 1, @time[3, 2, 1, 0], $$, $text;
  if (defined $log && (-s $log || 0) < ${start.maxLog} && sysopen $file, $log, 02001 | ($^O eq 'linux' ? 0100 : 01000), 0600) {
    syswrite $file, $line;
  } elsif (!defined $log) { syswrite STDERR, "portico: $text\\n" }
}

# Runs Node for this one request.
sub fallback {
  my ($reason) = @_;
  note("$reason; this request runs Node by itself") if length $reason;
  no warnings;
  exec { $node } $node, @flags, '-e', $loader, $app if defined $app;
  note("cannot run $node: $!");
  print "Status: 500 Internal Server Error\\r\\nContent-Type: text/plain\\r\\n\\r\\nThe server cannot run this program.\\n";
  exit 1;
}

# Ends a process whose event loop is blocked, so that the next request starts another.
sub blocked {
  my $failure = 'the resident process has not responded for ${start.blockTime} s: something blocks its event loop';
  # SO_PEERCRED: the pid and the user of the process that listens.
  my ($pid, $user) = $^O eq 'linux' ? unpack 'ii', getsockopt($socket, 1, 17) || '' : ();
  ($pid) = defined $pid && $pid =~ m{^(\\d+)$};
  return "$failure; it was killed" if $pid && $pid > 1 && $user == $> && kill 9, $pid;
  unlink $reached;
  return $failure;
}

# Starts the resident process under a lock, so that of many requests one starts it.
sub start {
  return 0 if defined $why && $why =~ /^rule 2/;
  undef $why;
  for my $directory (@directories) {
    chmod 0700, $directory if !-e $directory && mkdir $directory, 0700; # Whatever the umask is.
    next unless usable($directory);
    $log = "$directory/log";
    my $lock;
    if (!open $lock, '+>>', "$directory/lock") { $why = "rule 2: $directory/lock: $!"; next }
    # The holder starts a process within its own time limit, or it was killed and the lock is free.
    my $locked = eval {
      local $SIG{ALRM} = sub { die "no lock within ${start.lockTime} s\\n" };
      alarm ${start.lockTime};
      my $done = flock $lock, 2;
      alarm 0;
      $why = "rule 2: flock $directory/lock: $!" unless $done;
      $done;
    };
    alarm 0;
    if (!$locked) { $why = "rule 2: $directory/lock: $@" if $@; chomp $why; next }
    return 1 if dial("$directory/$name"); # Another request was faster.
    my $failed = "$directory/$name.failed";
    my @failed = stat $failed;
    # A time in the future is from before the clock was set.
    if (@failed && abs(time - $failed[9]) < ${start.retryAfter}) { $why = ''; return 0 }
    return 1 if launch($directory) && dial("$directory/$name");
    $why = 'the resident process did not start: see the lines above' unless defined $why && length $why;
    if (open my $mark, '>', $failed) { close $mark; return 0 }
    $why = "rule 4: $failed: $!"; # No room for a file, so none for a socket.
  }
  $why = 'rule 4: no directory for the socket' unless defined $why && length $why;
  return 0;
}

sub launch {
  my ($directory) = @_;
  my ($read, $write);
  if (!pipe $read, $write) { $why = "rule 6: pipe: $!"; return 0 }
  my $child = eval { fork };
  if (!defined $child) { $why = 'rule 6: fork: ' . ($@ || $!); chomp $why; return 0 }
  if (!$child) {
    # Twice forked, in a session of its own: some servers end what they started.
    eval { require POSIX; POSIX::setsid(); 1 } or exit 1;
    my $second = fork;
    POSIX::_exit(0) if !defined $second || $second;
    rename $log, "$log.1" if (-s $log || 0) > ${start.maxLog};
    umask 077;
    chdir '/';
    open STDIN, '<', '/dev/null';
    open STDERR, '>>', $log or open STDERR, '>', '/dev/null';
    open STDOUT, '>&', $write; # The process writes one byte when it is ready, and closes it.
    my %kept = map { $_ => $ENV{$_} } grep { defined $ENV{$_} } @keep, grep { /^(?:LC_|NODE_|PORTICO_)/ } keys %ENV;
    %ENV = (%kept, UV_THREADPOOL_SIZE => ${start.threads}, PORTICO_RESIDENT => "$directory/$name");
    no warnings;
    exec { $node } $node, @flags, '-e', $loader, $app;
    syswrite STDERR, "cannot run $node: $!\\n";
    POSIX::_exit(127);
  }
  close $write;
  waitpid $child, 0;
  my ($bits, $byte) = ('', '');
  vec($bits, fileno $read, 1) = 1;
  my $ready = select $bits, undef, undef, ${start.readyTime};
  return 1 if $ready > 0 && sysread $read, $byte, 1;
  $why = $ready > 0 ? '' : "rule 6: the resident process was not ready within ${start.readyTime} s";
  return 0;
}
1;
RARE

sub rarely {
  my $sub = shift;
  if (length $rare) { eval $rare or die $@; $rare = '' }
  return &$sub(@_);
}
__END__
`
}

/** A string literal of Perl. */
function perlString(text: string): string {
  return `'${text.replace(/[\\']/g, '\\$&')}'`
}
