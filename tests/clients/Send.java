import jakarta.mail.Message;
import jakarta.mail.Session;
import jakarta.mail.Transport;
import jakarta.mail.internet.InternetAddress;
import jakarta.mail.internet.MimeMessage;
import java.io.ByteArrayInputStream;
import java.io.FileInputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.Properties;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

/**
 * Jakarta Mail sends by both ports and with each mechanism that it has in common with mailroot.
 *
 * Arguments: the STARTTLS port, the implicit port, the CA's file, then the messages of both ports. Each way that worked
 * is a line of the output, and its name stands in the message for the word WAY.
 */
public class Send {
    public static void main(String[] args) throws Exception {
        SSLContext trust = trust(args[2]);
        for (String name : new String[] {"starttls", "implicit"}) {
            boolean implicit = name.equals("implicit");
            String text = Files.readString(Path.of(implicit ? args[4] : args[3]));
            for (String mechanism : new String[] {"PLAIN", "LOGIN"}) {
                String way = name + "-" + mechanism;
                Properties set = new Properties();
                set.put("mail.transport.protocol", "smtp");
                set.put("mail.smtp.host", "localhost");
                set.put("mail.smtp.port", implicit ? args[1] : args[0]);
                set.put("mail.smtp.localhost", "me.example");
                set.put("mail.smtp.from", "alice@nas.example");
                set.put("mail.smtp.auth", "true");
                set.put("mail.smtp.auth.mechanisms", mechanism);
                set.put("mail.smtp.allow8bitmime", "true");
                set.put("mail.smtp.ssl.enable", Boolean.toString(implicit));
                set.put("mail.smtp.starttls.enable", Boolean.toString(!implicit));
                set.put("mail.smtp.starttls.required", Boolean.toString(!implicit));
                set.put("mail.smtp.ssl.checkserveridentity", "true");
                set.put("mail.smtp.ssl.socketFactory", trust.getSocketFactory());
                Session session = Session.getInstance(set);
                byte[] bytes = text.replace("WAY", way).getBytes(StandardCharsets.UTF_8);
                Message message = new MimeMessage(session, new ByteArrayInputStream(bytes));
                try (Transport transport = session.getTransport()) {
                    transport.connect("tim", "hunter2");
                    transport.sendMessage(message, InternetAddress.parse("bob@office.example, eve@office.example"));
                }
                System.out.println(way);
            }
        }
    }

    private static SSLContext trust(String file) throws Exception {
        KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null);
        try (FileInputStream in = new FileInputStream(file)) {
            store.setCertificateEntry("ca", CertificateFactory.getInstance("X.509").generateCertificate(in));
        }
        TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(store);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, trust.getTrustManagers(), null);
        return context;
    }
}
