# Perl's Net::SMTP sends by both ports and with each mechanism that it has in common with mailroot.
#
# Arguments: the STARTTLS port, the implicit port, the CA's file, then the messages of both ports. Each way that worked is
# a line of the output, and its name stands in the message for the word WAY.
use strict;
use warnings;
use Authen::SASL;
use Net::SMTP;

my ($starttls, $implicit, $ca, $small, $large) = @ARGV;
my %tls = (SSL_ca_file => $ca, SSL_verify_mode => 1);

for (['starttls', $starttls, $small], ['implicit', $implicit, $large]) {
    my ($name, $port, $message) = @$_;
    for my $mechanism ('PLAIN', 'LOGIN') {
        my $way = "$name-$mechanism";
        open my $file, '<:raw', $message or die "$message: $!";
        my $text = do { local $/; <$file> };
        $text =~ s/WAY/$way/g;
        # It makes CRLF of each line end.
        $text =~ s/\r\n/\n/g;
        my $client = Net::SMTP->new('localhost', Port => $port, Hello => 'me.example', Timeout => 60,
            ($name eq 'implicit' ? (SSL => 1, %tls) : ())) or die "$way: $@";
        my $must = sub { $_[0] or die "$way: " . $client->code . ' ' . $client->message };
        $must->($client->starttls(%tls)) if $name eq 'starttls';
        my $sasl = Authen::SASL->new(mechanism => $mechanism,
            callback => { user => 'tim', authname => '', pass => 'hunter2' });
        $must->($client->auth($sasl));
        $must->($client->mail('alice@nas.example', Bits => '8'));
        $must->($client->to('bob@office.example', 'eve@office.example'));
        $must->($client->data($text));
        $must->($client->quit);
        print "$way\n";
    }
}
