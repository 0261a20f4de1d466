<?php
// As the pickup classes of PHP programs do it: the envelope from Return-Path or From, a name of chance, no rename.
function pickup(string $folder, array $header, array $bcc, string $body): void {
    $sender = $header['Return-Path'] ?? $header['From'];
    unset($header['Return-Path']);
    $text = 'x-sender: ' . $sender . "\r\n";
    foreach (array_merge(explode(',', $header['To']), $bcc) as $to) {
        $text .= 'x-receiver: ' . trim($to) . "\r\n";
    }
    foreach ($header as $name => $value) {
        $text .= $name . ': ' . $value . "\r\n";
    }
    $file = fopen($folder . '/' . uniqid('mail', true) . '.eml', 'x');
    fwrite($file, $text . "\r\n");
    fwrite($file, str_replace("\n", "\r\n", $body));
    fclose($file);
}
pickup($argv[1], [
    'Return-Path' => 'bounce@web.example',
    'From' => 'Shop <shop@web.example>',
    'To' => 'Jane <jane@customer.example>, boss@customer.example',
    'Subject' => "=?UTF-8?B?" . base64_encode("Bestellung \u{fc}ber 3 \u{20ac}") . "?=",
    'Date' => date('r'),
    'MIME-Version' => '1.0',
    'Content-Type' => 'text/plain; charset=utf-8',
], ['hidden@web.example'], "first line\n.second\n");
